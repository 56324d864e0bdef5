defmodule DSPex.Evaluation do
  @moduledoc """
  How good a program is on rows: each prediction is scored by metrics and kept in the server's store.

      right = DSPex.Metric.exact_match("answer")
      {:ok, made} = DSPex.Evaluation.run(MyApp.DSPex, "qa", dev, metrics: [right: right])
      made.scores["right"].mean

      {:ok, compared} = DSPex.Evaluation.compare(MyApp.DSPex, [before, made])
      {:ok, failures} = DSPex.Evaluation.failures(MyApp.DSPex, made)
      Enum.to_list(DSPex.Evaluation.rows(MyApp.DSPex, made, metric: "right", passed: false))

  `docs/evaluation.md` says how errors count, what the intervals are, and when a difference
  counts as significant.

  * `id`: its name
  * `program`: the `DSPex.Program` that was measured, with its version, or nil where it was a `spec`
  * `dataset`: the `DSPex.Dataset` with version and selection, or nil where rows came with the call
  * `state`: `:running`, also where it was cut off; `:done`; `:stopped` by `max_errors:`
  * `rows`, `done`, `failed`: how many there are to be, have a prediction, have an error
  * `scores`: of each metric by name a `DSPex.Evaluation.Figures`
  * `usage`, `metric_usage`: what all of it has cost, and what of that the metrics have
  * `latency_ms`: `"p50"`, `"p90"`, `"p99"`, `"max"` of the program, without metrics; nil before the end
  * `metrics`, `failure_score`, `lm`, `note`: as they were asked for
  * `run`: the `DSPex.Experiments.Run` that tells of it, where it was begun with `experiment:`
  * `checksum`, `confidence`, `created`, `ended`

  ## Going on

  An evaluation goes on where it was when it is run again with `evaluation:` its id and the same
  program, rows, metrics and settings: after a crash, a deadline, or `max_errors:` that were too few.
  Rows that are in the store are not run again, unless `again: true` says so of those that have an error or
  lack a score, since a model was away for instance. Another request under its id is
  `:evaluation_exists`; of two that run it, the last one has it, and the other gets `:evaluation_taken`.
  """

  alias DSPex.{Call, Dataset, Error, Name, Options, Page, Program, Stored}
  alias DSPex.Evaluation.{Comparison, Failures, Figures, Request, Row}
  alias DSPex.Experiments.Run

  @enforce_keys [:id]
  defstruct [:id, :program, :spec, :dataset, :checksum, :state, :confidence, :latency_ms] ++
              [:lm, :note, :run, :created, :ended] ++
              [metrics: %{}, failure_score: 0.0, rows: 0, done: 0, failed: 0] ++
              [scores: %{}, usage: %{}, metric_usage: %{}]

  @type t :: %__MODULE__{
          id: String.t(),
          program: Program.t() | nil,
          spec: map() | nil,
          dataset: Dataset.t() | nil,
          checksum: String.t() | nil,
          state: :running | :done | :stopped,
          metrics: %{optional(String.t()) => map()},
          failure_score: float(),
          rows: non_neg_integer(),
          done: non_neg_integer(),
          failed: non_neg_integer(),
          scores: %{optional(String.t()) => Figures.t()},
          confidence: float() | nil,
          usage: map(),
          metric_usage: map(),
          latency_ms: %{optional(String.t()) => float()} | nil,
          lm: String.t() | nil,
          note: String.t() | nil,
          run: Run.t() | nil,
          created: DateTime.t() | nil,
          ended: DateTime.t() | nil
        }

  @typedoc "An evaluation or its id."
  @type evaluation :: t() | String.t()

  @typedoc "A stored dataset, by handle or id, or the rows themselves."
  @type rows :: Dataset.t() | String.t() | [map() | keyword() | DSPex.Tagged.t()]

  @comparing [:confidence, :metrics, :resamples, :rows, :seed]
  @finding [:descending, :error, :indexes, :limit, :max, :metric, :min, :offset, :order, :passed, :scored]
  @listing [:after, :dataset, :limit, :prefix, :program]

  @doc """
  Runs a program on rows and scores each prediction.

  The program is as in `DSPex.predict/4`, and is given those fields of a row that the dataset
  declares as inputs; the metrics see the whole row.

  * `metrics:` (needed) by name, whatever `DSPex.Metric` makes: `[right: DSPex.Metric.exact_match("answer")]`
  * `on_row:` a function that is called with each `DSPex.Evaluation.Row` as it comes, in this process
  * `evaluation:` an id; one that has begun goes on
  * `again:` `true`: rows of one that has begun, or is done, that have an error or lack a score are run again
  * `failure_score:` what a row without a score counts for in the mean; 0 by default
  * `parallelism:`, `max_errors:`, `row_timeout:` as of `DSPex.Batch`; `metric_timeout:` milliseconds of
    one metric for one row
  * `trace:`, `requests:` `true`: rows have the steps of their predictions, their requests to language models
  * `inputs:` where rows are given: names of the fields that the program may see; by default all that it takes
  * `experiment:` the id of an experiment, in which a run tells of the evaluation: what was asked for, on
    what, the means of the metrics and what it has cost
  * `note:`; and what `DSPex.predict/4` takes: `lm:`, `config:`, `adapter:`, `timeout:` of the whole, …
  """
  @spec run(DSPex.t(), DSPex.program(), rows(), keyword()) :: DSPex.result(t())
  def run(dspex, program, rows, options \\ []) do
    with {:ok, call, on_row} <- Request.open(dspex, program, rows, options), do: collect(call, on_row)
  end

  @doc "The same, or raises `DSPex.Error`."
  @spec run!(DSPex.t(), DSPex.program(), rows(), keyword()) :: t()
  def run!(dspex, program, rows, options \\ []), do: Error.bang(run(dspex, program, rows, options))

  @doc """
  A lazy stream of the rows as they come, and the evaluation as last element; raises `DSPex.Error`.

  Options as of `run/4` without `on_row:`; `credit:` how many rows may be on their way. Halting cancels
  the run, which can be taken up again.
  """
  @spec stream(DSPex.t(), DSPex.program(), rows(), keyword()) :: Enumerable.t()
  def stream(dspex, program, rows, options \\ []) do
    start = fn ->
      {:ok, call, _on_row} = Error.bang(started(dspex, program, rows, options))
      call
    end

    Stream.resource(start, &next/1, &close/1)
  end

  defp started(dspex, program, rows, options) do
    with {:ok, _call, _on_row} = opened <- Request.open(dspex, program, rows, options), do: {:ok, opened}
  end

  @doc "An evaluation as it is now."
  @spec get(DSPex.t(), evaluation(), keyword()) :: DSPex.result(t())
  def get(dspex, evaluation, options \\ []) do
    with {:ok, id} <- id(evaluation), {:ok, options} <- Options.call(options, []) do
      dspex
      |> Stored.ask("evaluation.get", %{"evaluation" => id}, %{}, options)
      |> Stored.read(&from_wire/1)
    end
  end

  @doc "The same, or raises `DSPex.Error`."
  @spec get!(DSPex.t(), evaluation(), keyword()) :: t()
  def get!(dspex, evaluation, options \\ []), do: Error.bang(get(dspex, evaluation, options))

  @doc """
  A page of evaluations, by id, without their metrics and specs.

  Options: `prefix:` only ids that begin so; `program:`, `dataset:` only those of one, by id; `limit:`;
  `after:` the `next` of the page before.
  """
  @spec list(DSPex.t(), keyword()) :: DSPex.result(Page.t(t()))
  def list(dspex, options \\ []) do
    with {:ok, options} <- Options.call(options, @listing) do
      dspex
      |> Stored.ask("evaluation.list", Stored.payload(options, @listing), %{}, options)
      |> Stored.read(&Page.from_wire(&1, "evaluations", fn row -> from_wire(row) end))
    end
  end

  @doc "The same, or raises `DSPex.Error`."
  @spec list!(DSPex.t(), keyword()) :: Page.t(t())
  def list!(dspex, options \\ []), do: Error.bang(list(dspex, options))

  @doc """
  A page of rows, each a `DSPex.Evaluation.Row`.

  Options: `error:` `true` or `false`, rows with or without an error; `indexes:` a list; by `metric:`, which
  must be named where there are several: `scored:` and `passed:`, `true` or `false`, `min:` and `max:`
  scores; `order:` `:index`, `:score` or `:worker_ms`, and `descending: true`; `limit:`; `offset:` the `next`
  of the page before. `rows/3` gives all of them.
  """
  @spec page(DSPex.t(), evaluation(), keyword()) :: DSPex.result(Page.t(Row.t()))
  def page(dspex, evaluation, options \\ []) do
    with {:ok, id} <- id(evaluation), {:ok, options} <- Options.call(options, @finding) do
      dspex
      |> Stored.ask("evaluation.rows", Map.put(finding(options), "evaluation", id), %{}, options)
      |> Stored.read(&Page.from_wire(&1, "rows", fn row -> Row.from_wire(row) end))
    end
  end

  @doc "The same, or raises `DSPex.Error`."
  @spec page!(DSPex.t(), evaluation(), keyword()) :: Page.t(Row.t())
  def page!(dspex, evaluation, options \\ []), do: Error.bang(page(dspex, evaluation, options))

  @doc "A lazy stream of all rows that fit, page by page, with the options of `page/3`; raises `DSPex.Error`."
  @spec rows(DSPex.t(), evaluation(), keyword()) :: Enumerable.t()
  def rows(dspex, evaluation, options \\ []),
    do: Stored.stream(options, :offset, &page(dspex, evaluation, &1))

  @doc """
  Holds 2 to 8 evaluations of the same rows against each other.

  Options: `metrics:` names, by default those that all have; `seed:`, `resamples:` (2,000) and `confidence:`
  (0.95) of the intervals; `rows: false` leaves the scores of each row out.
  """
  @spec compare(DSPex.t(), [evaluation()], keyword()) :: DSPex.result(Comparison.t())
  def compare(dspex, evaluations, options \\ []) do
    with {:ok, ids} <- ids(evaluations), {:ok, options} <- Options.call(options, @comparing) do
      payload = Map.put(Stored.payload(options, @comparing), "evaluations", ids)
      dspex |> Stored.ask("evaluation.compare", payload, %{}, options) |> Stored.read(&Comparison.from_wire/1)
    end
  end

  @doc "The same, or raises `DSPex.Error`."
  @spec compare!(DSPex.t(), [evaluation()], keyword()) :: Comparison.t()
  def compare!(dspex, evaluations, options \\ []), do: Error.bang(compare(dspex, evaluations, options))

  @doc """
  What went wrong, in clusters, the largest first.

  Options: `below:` a score that is lower fails where there is no verdict, 0.5 by default; `limit:` clusters.
  """
  @spec failures(DSPex.t(), evaluation(), keyword()) :: DSPex.result(Failures.t())
  def failures(dspex, evaluation, options \\ []) do
    keys = [:below, :limit]

    with {:ok, id} <- id(evaluation), {:ok, options} <- Options.call(options, keys) do
      payload = Map.put(Stored.payload(options, keys), "evaluation", id)
      dspex |> Stored.ask("evaluation.failures", payload, %{}, options) |> Stored.read(&Failures.from_wire/1)
    end
  end

  @doc "The same, or raises `DSPex.Error`."
  @spec failures!(DSPex.t(), evaluation(), keyword()) :: Failures.t()
  def failures!(dspex, evaluation, options \\ []), do: Error.bang(failures(dspex, evaluation, options))

  @doc "Deletes an evaluation with its rows; a run of it ends with `:unknown_evaluation`."
  @spec delete(DSPex.t(), evaluation(), keyword()) :: :ok | {:error, Error.t()}
  def delete(dspex, evaluation, options \\ []) do
    with {:ok, id} <- id(evaluation), {:ok, options} <- Options.call(options, []) do
      dspex |> Stored.ask("evaluation.delete", %{"evaluation" => id}, %{}, options) |> Stored.done()
    end
  end

  @doc "The same, or raises `DSPex.Error`."
  @spec delete!(DSPex.t(), evaluation(), keyword()) :: :ok
  def delete!(dspex, evaluation, options \\ []) do
    with {:error, error} <- delete(dspex, evaluation, options), do: raise(error)
  end

  # -- a run -----------------------------------------------------------------------------

  defp collect(call, on_row) do
    case call |> Call.next() |> element() do
      {:next, row, call} ->
        on_row.(row)
        collect(call, on_row)

      {:done, evaluation} ->
        {:ok, evaluation}

      {:error, error} ->
        {:error, error}
    end
  end

  defp next(:over), do: {:halt, :over}

  defp next(call) do
    case call |> Call.next() |> element() do
      {:next, row, call} -> {[row], call}
      {:done, evaluation} -> {[evaluation], :over}
      {:error, error} -> raise error
    end
  end

  # Also after a raise above: the call is settled then, and abandoning it does nothing.
  defp close(:over), do: :ok
  defp close(call), do: Call.abandon(call)

  defp element({:item, item, call}), do: {:next, Row.from_wire(item), Call.renew(call)}
  defp element({:ok, %{"evaluation" => _id} = answer, _meta}), do: {:done, from_wire(answer)}
  defp element({:ok, _other, _meta}), do: {:error, Error.new(:internal, "what came is no evaluation")}
  defp element(other), do: other

  # -- the wire --------------------------------------------------------------------------

  defp id(%__MODULE__{id: id}), do: id(id)

  defp id(id) do
    if Name.id?(id),
      do: {:ok, id},
      else: {:error, Error.invalid_argument("evaluation", "an id or a DSPex.Evaluation", id)}
  end

  defp ids(evaluations) when is_list(evaluations) do
    Enum.reduce_while(evaluations, {:ok, []}, fn evaluation, {:ok, ids} ->
      case id(evaluation) do
        {:ok, id} -> {:cont, {:ok, ids ++ [id]}}
        error -> {:halt, error}
      end
    end)
  end

  defp ids(other), do: {:error, Error.invalid_argument("evaluations", "a list of evaluations", other)}

  defp finding(options) do
    {order, options} = Map.pop(options, :order)
    payload = Stored.payload(options, @finding)
    if order, do: Map.put(payload, "sort", Atom.to_string(order)), else: payload
  end

  @states %{"running" => :running, "done" => :done, "stopped" => :stopped}

  @doc false
  @spec from_wire(map()) :: t()
  def from_wire(told) do
    %__MODULE__{
      id: told["evaluation"],
      program: program(told),
      spec: told["spec"],
      dataset: dataset(told),
      checksum: told["checksum"],
      state: Map.get(@states, told["state"], :running),
      metrics: told["metrics"] || %{},
      failure_score: told["failure_score"],
      rows: told["rows"],
      done: told["done"],
      failed: told["failed"],
      scores: Map.new(told["scores"] || %{}, fn {name, row} -> {name, Figures.from_wire(row)} end),
      confidence: told["confidence"],
      usage: told["usage"] || %{},
      metric_usage: told["metric_usage"] || %{},
      latency_ms: told["latency_ms"],
      lm: told["lm"],
      note: told["note"],
      run: Run.named(told),
      created: told["created"],
      ended: told["ended"]
    }
  end

  defp program(%{"program" => id, "version" => version}) when is_binary(id),
    do: %Program{id: id, version: version}

  defp program(_spec), do: nil

  defp dataset(%{"dataset" => id} = told) when is_binary(id),
    do: %Dataset{id: id, version: told["dataset_version"], select: told["select"]}

  defp dataset(_rows), do: nil

  defimpl Inspect do
    def inspect(evaluation, _options) do
      means = for {name, figures} <- evaluation.scores, do: ", #{name} #{figures.mean || "nil"}"
      counts = "#{evaluation.done} done, #{evaluation.failed} failed of #{evaluation.rows}"
      "#DSPex.Evaluation<#{evaluation.id} #{evaluation.state}: #{counts}#{means}>"
    end
  end
end
