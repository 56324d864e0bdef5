defmodule DSPex.Job do
  @moduledoc """
  Work of minutes or hours in the server's store, as `DSPex.Jobs` tells of it.

  * `id`: its id, all that a function of `DSPex.Jobs` needs
  * `kind`: what is to be done, such as `"optimize"`
  * `state`: `:queued`, `:running`, and its ends `:done`, `:failed`, `:cancelled`
  * `attempt`: how often a worker has begun it; `resumes`: how often it was resumed; `events`: the number of
    its last event
  * `spent`: `"lm_calls"`, `"tokens_in"`, `"tokens_out"`, `"cost_usd"`, over all attempts
  * `progress`: the latest figures, by name
  * `best_score`: of the best result so far; `saved`: the `DSPex.Program` that it has made
  * `replay`: of the last attempt `"answered"` from the journal, `"live"`, and `"diverged"`: answers that
    were kept and that it did not ask for again
  * `versions`: `%{"begun" => …, "latest" => …}`, the versions (`"dspex"`, `"dspy"`) under which it was begun and
    under which its last attempt runs; where they differ an event of the type `"versions_changed"` has said so
  * `error`: the `DSPex.Error` of one that failed
  * `cancelling?`: somebody wants it to end, and it has not yet
  * `created?`: from `DSPex.Jobs.submit/4` only: false where the key had this job already
  * `key`, `budget`, `deadline_s`, `note`, `tenant`: as it was submitted
  * `run`: the `DSPex.Experiments.Run` that tells of it, where it was submitted with `experiment:`
  * `answers`: how many are in its journal; `created`, `started`, `ended`

  What `DSPex.Jobs.submit/4` returns has `id`, `kind`, `run` and `created?` alone.
  """

  alias DSPex.{Error, Name, Program}
  alias DSPex.Experiments.Run

  @states %{
    "queued" => :queued,
    "running" => :running,
    "done" => :done,
    "failed" => :failed,
    "cancelled" => :cancelled
  }
  @ended [:done, :failed, :cancelled]

  @enforce_keys [:id]
  defstruct [:id, :kind, :state, :key, :note, :tenant, :deadline_s, :best_score, :saved, :replay, :error] ++
              [:run, :versions, :created?, :created, :started, :ended] ++
              [
                attempt: 0,
                resumes: 0,
                events: 0,
                answers: 0,
                budget: %{},
                spent: %{},
                progress: %{},
                cancelling?: false
              ]

  @type state :: :queued | :running | :done | :failed | :cancelled

  @type t :: %__MODULE__{
          id: String.t(),
          kind: String.t() | nil,
          state: state() | nil,
          key: String.t() | nil,
          note: String.t() | nil,
          tenant: String.t() | nil,
          deadline_s: float() | nil,
          attempt: non_neg_integer(),
          resumes: non_neg_integer(),
          events: non_neg_integer(),
          answers: non_neg_integer(),
          budget: %{optional(String.t()) => number()},
          spent: %{optional(String.t()) => number()},
          progress: map(),
          best_score: float() | nil,
          saved: Program.t() | nil,
          run: Run.t() | nil,
          replay: %{optional(String.t()) => non_neg_integer()} | nil,
          versions: %{optional(String.t()) => %{optional(String.t()) => String.t()} | nil} | nil,
          cancelling?: boolean(),
          error: Error.t() | nil,
          created?: boolean() | nil,
          created: DateTime.t() | nil,
          started: DateTime.t() | nil,
          ended: DateTime.t() | nil
        }

  @doc """
  Whether nothing more comes of it.

      iex> DSPex.Job.ended?(%DSPex.Job{id: "job-1", state: :running})
      false
  """
  @spec ended?(t()) :: boolean()
  def ended?(%__MODULE__{state: state}), do: state in @ended

  @doc false
  # The id of a job or an id, checked: it may have come from anywhere.
  @spec id_of(term()) :: {:ok, String.t()} | {:error, Error.t()}
  def id_of(%__MODULE__{id: id}), do: id_of(id)

  def id_of(id) do
    if is_binary(id) and Name.id?(id),
      do: {:ok, id},
      else: {:error, Error.invalid_argument("job", "a DSPex.Job or #{Name.id()}", id)}
  end

  @doc false
  @spec from_wire(map()) :: t()
  def from_wire(%{"job" => id} = row) do
    %__MODULE__{
      id: id,
      kind: row["kind"],
      state: @states[row["state"]],
      key: row["key"],
      note: row["note"],
      tenant: row["tenant"],
      deadline_s: row["deadline_s"],
      attempt: row["attempt"] || 0,
      resumes: row["resumes"] || 0,
      events: row["events"] || 0,
      answers: row["answers"] || 0,
      budget: row["budget"] || %{},
      spent: row["spent"] || %{},
      progress: row["progress"] || %{},
      best_score: row["best_score"],
      saved: row["saved"] && Program.from_wire(row["saved"]),
      run: Run.named(row),
      replay: row["replay"],
      versions: row["versions"],
      cancelling?: row["cancelling"] == true,
      error: row["error"] && Error.from_wire(row["error"]),
      created?: row["created?"],
      created: row["created"],
      started: row["started"],
      ended: row["ended"]
    }
  end
end
