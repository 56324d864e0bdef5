defmodule DSPex.Evaluation.Request do
  @moduledoc false
  # An evaluation as it is asked for: what is wrong with it is said before anything is sent.

  alias DSPex.{Call, Dataset, Error, Example, Metric, Options, Stored, Tagged}

  @own [
         :again,
         :credit,
         :evaluation,
         :experiment,
         :failure_score,
         :inputs,
         :max_errors,
         :metric_timeout,
         :metrics,
         :note,
         :on_row
       ] ++
         [:parallelism, :requests, :row_timeout]
  @credit 64
  @expected "a DSPex.Dataset, its id, or a list of rows"

  @doc "Opens the call; with it comes who is to be told of each row."
  @spec open(DSPex.t(), DSPex.program(), term(), keyword()) ::
          {:ok, Call.t(), (term() -> term())} | {:error, Error.t()}
  def open(dspex, program, rows, options) do
    with {:ok, options} <- Options.call(options, (DSPex.predicting() -- [:history]) ++ @own),
         {:ok, metrics} <- metrics(options[:metrics]),
         {:ok, on} <- on(rows, options),
         {:ok, payload, meta} <- DSPex.prediction_request(program, %{}, options),
         meta = Map.put(meta, "credit", Map.get(options, :credit, @credit)),
         payload = payload |> Map.delete("inputs") |> Map.merge(own(options)) |> Map.merge(on),
         payload = Map.put(payload, "metrics", metrics),
         {:ok, call} <- DSPex.open(dspex, "evaluation.run", payload, meta, options),
         do: {:ok, call, Map.get(options, :on_row, fn _row -> :ok end)}
  end

  defp own(options) do
    deadlines =
      for {key, name} <- [row_timeout: "row_deadline_ms", metric_timeout: "metric_deadline_ms"],
          value = options[key],
          into: %{},
          do: {name, value}

    options
    |> Stored.payload([
      :again,
      :evaluation,
      :experiment,
      :failure_score,
      :max_errors,
      :note,
      :parallelism,
      :requests
    ])
    |> Map.merge(deadlines)
  end

  defp metrics(named) when is_map(named) and not is_struct(named), do: metrics(Map.to_list(named))

  defp metrics([_ | _] = named) do
    Enum.reduce_while(named, {:ok, %{}}, fn entry, {:ok, specs} ->
      case metric(entry) do
        {:ok, name, spec} -> {:cont, {:ok, Map.put(specs, name, spec)}}
        {:error, error} -> {:halt, {:error, error}}
      end
    end)
  end

  defp metrics(other),
    do: {:error, Error.invalid_argument("metrics", "metrics by name, such as [right: metric]", other)}

  defp metric({name, source}) when is_atom(name) or is_binary(name) do
    with {:ok, spec} <- Metric.to_wire(source, "metrics.#{name}"), do: {:ok, to_string(name), spec}
  end

  defp metric(other), do: {:error, Error.invalid_argument("metrics", "a name and a metric", other)}

  defp on(dataset, options) when is_binary(dataset) or is_struct(dataset, Dataset) do
    case options do
      %{inputs: inputs} ->
        {:error, Error.invalid_argument("inputs", "nothing beside a dataset, which declares them", inputs)}

      _ ->
        with {:ok, dataset} <- Dataset.from(dataset), do: {:ok, %{"dataset" => Dataset.to_wire(dataset)}}
    end
  end

  defp on(rows, options) when is_list(rows) do
    with {:ok, keys} <- input_keys(options[:inputs]), {:ok, rows} <- rows(rows) do
      {:ok, Map.put(keys, "rows", rows)}
    end
  end

  defp on(other, _options), do: {:error, Error.invalid_argument("rows", @expected, other)}

  defp input_keys(nil), do: {:ok, %{}}

  defp input_keys(names) do
    if is_list(names) and Enum.all?(names, &(is_binary(&1) or (is_atom(&1) and &1 != nil))),
      do: {:ok, %{"input_keys" => Enum.map(names, &to_string/1)}},
      else: {:error, Error.invalid_argument("inputs", "a list of names of fields", names)}
  end

  defp rows(rows) do
    rows
    |> Enum.with_index()
    |> Enum.reduce_while({:ok, []}, fn {row, index}, {:ok, read} ->
      case row(row) do
        nil -> {:halt, {:error, Error.invalid_argument("rows[#{index}]", "a map of field to value", row)}}
        row -> {:cont, {:ok, [row | read]}}
      end
    end)
    |> case do
      {:ok, read} -> {:ok, Enum.reverse(read)}
      error -> error
    end
  end

  defp row(%Tagged{tag: "example"} = example), do: Example.fields(example)
  defp row(row) when is_map(row) and not is_struct(row), do: row
  defp row(row), do: if(is_list(row) and row != [] and Keyword.keyword?(row), do: Map.new(row))
end
