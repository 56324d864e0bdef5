defmodule DSPex.Batch do
  @moduledoc """
  One program over many inputs, spread over the server's workers: what `DSPex.batch/4` returns.

      {:ok, batch} = DSPex.batch(MyApp.DSPex, program, [%{question: "Why?"}, %{question: "How?"}])

      for {result, index} <- Enum.with_index(batch.results) do
        case result do
          {:ok, prediction} -> IO.puts(prediction.answer)
          {:error, error} -> IO.puts("row \#{index}: \#{error.message}")
          :left -> IO.puts("row \#{index} was not run")
        end
      end

  * `results`: of each row, in the order of the rows: `{:ok, prediction}`, `{:error, error}`, or
    `:left` where it was not begun since too many had failed; empty in the last element of
    `DSPex.batch_stream/4`, whose other elements are the results
  * `done`, `failed`, `left`: how many rows ended so
  * `stopped`: `:max_errors` where rows are left, else nil
  * `usage`: `"lm_calls"`, `"lm_ms"`, `"tokens_in"`, `"tokens_out"`, `"cost_usd"` and `"unpriced"`,
    summed up over all rows
  * `meta`: as of a prediction; of a stored program `"program"` and `"version"`, on which all rows ran

  ## Options

  Those of `DSPex.predict/4`, for each row alike, but that `:timeout` is of the whole; and

  * `:parallelism`: rows at once, 1 to 1,024; by default the places of all workers, at most 256
  * `:max_errors`: begin no more rows after so many have failed; by default every row is run
  * `:row_timeout`: milliseconds of one row, from when it is begun

  ## What becomes of a row

  A row that fails has its own error, and the others go on; one that names an input does so by the
  row, such as `inputs[3].question`. A worker that dies costs its rows a repeat, or one typed error
  each. A row for which the pool has no room at the moment waits. What is wrong with the call itself,
  such as its spec, ends it before rows are spent on it.

  Rows are of the lane `batch`: calls that somebody waits for go before them. A process that ends, or
  halts the stream, cancels its batch.
  """

  alias DSPex.{Call, Error, Options, Prediction}

  @own [:credit, :max_errors, :parallelism, :row_timeout]
  @credit 64

  defstruct results: [], done: 0, failed: 0, left: 0, stopped: nil, usage: %{}, meta: %{}

  @typedoc "What became of a row."
  @type result :: {:ok, Prediction.t()} | {:error, Error.t()} | :left

  @type t :: %__MODULE__{
          results: [result()],
          done: non_neg_integer(),
          failed: non_neg_integer(),
          left: non_neg_integer(),
          stopped: :max_errors | nil,
          usage: map(),
          meta: map()
        }

  @doc false
  @spec run(DSPex.t(), DSPex.program(), Enumerable.t(), keyword()) :: {:ok, t()} | {:error, Error.t()}
  def run(dspex, program, rows, options) do
    with {:ok, call} <- start(dspex, program, rows, options), do: collect(call, %{})
  end

  @doc false
  @spec stream(DSPex.t(), DSPex.program(), Enumerable.t(), keyword()) :: Enumerable.t()
  def stream(dspex, program, rows, options) do
    Stream.resource(fn -> start!(dspex, program, rows, options) end, &next/1, &close/1)
  end

  defp start(dspex, program, rows, options) do
    with {:ok, options} <- Options.call(options, DSPex.predicting() ++ @own),
         {:ok, rows} <- inputs(rows),
         {:ok, payload, meta} <- DSPex.prediction_request(program, %{}, options) do
      meta = Map.put(meta, "credit", Map.get(options, :credit, @credit))
      payload = options |> own() |> Map.merge(payload) |> Map.put("inputs", rows)
      DSPex.open(dspex, "batch.run", payload, meta, options)
    end
  end

  defp start!(dspex, program, rows, options) do
    case start(dspex, program, rows, options) do
      {:ok, call} -> call
      {:error, error} -> raise error
    end
  end

  defp own(options) do
    for {key, name} <- [
          max_errors: "max_errors",
          parallelism: "parallelism",
          row_timeout: "row_deadline_ms"
        ],
        value = options[key],
        into: %{},
        do: {name, value}
  end

  # On the wire a row is a map; a keyword list is one here.
  defp inputs(rows) do
    rows
    |> Enum.with_index()
    |> Enum.reduce_while({:ok, []}, fn {row, index}, {:ok, read} ->
      if row?(row), do: {:cont, {:ok, [Map.new(row) | read]}}, else: {:halt, {:error, bad_row(row, index)}}
    end)
    |> case do
      {:ok, read} -> {:ok, Enum.reverse(read)}
      error -> error
    end
  rescue
    Protocol.UndefinedError -> {:error, Error.invalid_argument("inputs", "a list of rows", rows)}
  end

  defp row?(row), do: (is_map(row) and not is_struct(row)) or Keyword.keyword?(row)

  defp bad_row(row, index),
    do: Error.invalid_argument("inputs[#{index}]", "a map or keyword list of field and value", row)

  # All of it, in order. What was done is not lost where the rest fails: it is in the error.
  defp collect(call, results) do
    case call |> Call.next() |> element() do
      {:next, {index, result}, call} ->
        collect(call, Map.put(results, index, result))

      {:done, batch, rows} ->
        {:ok, %{batch | results: for(index <- indexes(rows), do: Map.get(results, index, :left))}}

      {:error, error} ->
        {:error, %{error | details: Map.put(error.details, "results", results)}}
    end
  end

  defp indexes(0), do: []
  defp indexes(rows), do: 0..(rows - 1)

  defp next(:over), do: {:halt, :over}

  defp next(call) do
    case call |> Call.next() |> element() do
      {:next, element, call} -> {[element], call}
      {:done, batch, _rows} -> {[batch], :over}
      {:error, error} -> raise error
    end
  end

  # Also after a raise above: the call is settled then, and abandoning it does nothing.
  defp close(:over), do: :ok
  defp close(call), do: Call.abandon(call)

  defp element({:item, item, call}), do: {:next, read(item), Call.renew(call)}
  defp element({:ok, %{"rows" => rows} = summary, meta}), do: {:done, from_wire(summary, meta), rows}
  defp element({:ok, _other, _meta}), do: {:error, Error.new(:internal, "what came is no answer to a batch")}
  defp element(other), do: other

  defp read(%{"index" => index, "prediction" => prediction}),
    do: {index, Prediction.from_wire(prediction, %{})}

  defp read(%{"index" => index, "error" => error}), do: {index, {:error, Error.from_wire(error)}}

  defp from_wire(summary, meta) do
    %__MODULE__{
      done: summary["done"],
      failed: summary["failed"],
      left: summary["left"],
      stopped: if(summary["stopped"], do: :max_errors),
      usage: summary["usage"],
      meta: meta
    }
  end

  defimpl Inspect do
    def inspect(batch, _options),
      do: "#DSPex.Batch<#{batch.done} done, #{batch.failed} failed, #{batch.left} left>"
  end
end
