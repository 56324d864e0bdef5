defmodule DSPex.Optimizers.Optimized do
  @moduledoc """
  What an optimizer has come to.

  * `program`: the `DSPex.Program` that was stored, or nil where nothing was
  * `spec`, `state`: of the program that came of it, as maps with strings for keys
  * `scores`: `"start"` and `"best"`, where they are known, from 0.0 to 1.0
  * `optimizer`: its name; `job`: the id of the job
  * `history`: the trials, maps with `"trial"`, `"score"`, `"rows"`, `"full"`, `"candidate"`, `"is_best"`
  * `trials`, `scored_rows`: how many of each there were
  * `failed`, `unscored`, `unanswered`: what went wrong with rows: modules that raised, scores that could
    not be told, requests that models refused; each nil, or a map of `"count"`, `"code"` and one `"message"`
  * `usage`: `"lm_calls"`, `"tokens_in"`, `"tokens_out"`, `"cost_usd"`, over all attempts
  * `replay`: `"answered"`, `"live"` and `"diverged"`, of the last attempt
  """

  alias DSPex.{Job, Program}

  defstruct [:program, :spec, :state, :optimizer, :job, :failed, :unscored, :unanswered] ++
              [scores: %{}, history: [], trials: 0, scored_rows: 0, usage: %{}, replay: %{}]

  @type t :: %__MODULE__{
          program: Program.t() | nil,
          spec: map() | nil,
          state: map() | nil,
          optimizer: String.t() | nil,
          job: String.t() | nil,
          failed: map() | nil,
          unscored: map() | nil,
          unanswered: map() | nil,
          scores: %{optional(String.t()) => float()},
          history: [map()],
          trials: non_neg_integer(),
          scored_rows: non_neg_integer(),
          usage: %{optional(String.t()) => number()},
          replay: %{optional(String.t()) => non_neg_integer()}
        }

  @doc false
  @spec from_result(DSPex.Jobs.result(), Job.t() | String.t()) :: t()
  def from_result(%{result: told, saved: saved, replay: replay}, job) do
    record = told["program"] || %{}

    %__MODULE__{
      program: saved,
      spec: record["spec"],
      state: record["state"],
      optimizer: told["optimizer"],
      job: id(job),
      failed: told["failed"],
      unscored: told["unscored"],
      unanswered: told["unanswered"],
      scores: told["scores"] || %{},
      history: told["history"] || [],
      trials: told["trials"] || 0,
      scored_rows: told["scored_rows"] || 0,
      usage: told["usage"] || %{},
      replay: replay
    }
  end

  defp id(%Job{id: id}), do: id
  defp id(id), do: id
end
