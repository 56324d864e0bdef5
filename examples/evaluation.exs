# How good a program is on a dataset: rows as they come, two programs compared, what went wrong.

command = "DSPEX_COMMAND" |> System.get_env("dspex serve") |> String.split()

{:ok, _} =
  DSPex.start_link(
    name: Example.DSPex,
    command: command,
    args: ["--log-level", "error", "--store", "memory"],
    lms: %{"default" => System.get_env("DSPEX_LM", "sim/example")},
    # A metric of ours: a wrong verdict is worse than none.
    functions: %{
      "useful" => fn %{"example" => example, "prediction" => prediction} ->
        cond do
          prediction["mood"] == example["mood"] -> 1
          prediction["mood"] == "mixed" -> %{score: 0.5, feedback: "it is #{example["mood"]}"}
          true -> 0
        end
      end
    }
  )

alias DSPex.{Datasets, Evaluation, Metric}

reviews = [
  {"It never fails, and it is quiet.", "good"},
  {"It broke on the second day.", "bad"},
  {"It is fast, and the handle is loose.", "mixed"}
]

signature = "review -> mood: Literal['good', 'bad', 'mixed']"
rows = for n <- 1..12, {review, mood} <- reviews, do: %{review: "#{review} (#{n})", mood: mood}
data = Datasets.put!(Example.DSPex, "reviews", rows, signature: signature)
metrics = [right: Metric.exact_match("mood"), useful: Metric.host("useful")]

# Rows as they come; a run that is cut off goes on with the same `evaluation:`.
made =
  Evaluation.run!(Example.DSPex, {"Predict", signature}, data,
    evaluation: "short",
    metrics: metrics,
    on_row: fn row -> if rem(row.index, 12) == 0, do: IO.puts("row #{row.index} is there") end
  )

%{mean: mean, low: low, high: high} = made.scores["right"]
IO.puts("right #{Float.round(mean, 2)}, from #{Float.round(low, 2)} to #{Float.round(high, 2)}")

# The same as a lazy stream.
[thoughtful] =
  Example.DSPex
  |> Evaluation.stream({"ChainOfThought", signature}, data, metrics: metrics)
  |> Stream.filter(&is_struct(&1, Evaluation))
  |> Enum.to_list()

compared = Evaluation.compare!(Example.DSPex, [made, thoughtful])

for {metric, [pair]} <- compared.metrics do
  verdict = if pair.significant?, do: "significant", else: "not significant"
  IO.puts("#{metric}: #{Float.round(pair.difference, 2)}, #{verdict} (p #{Float.round(pair.p_holm, 2)})")
end

for cluster <- Evaluation.failures!(Example.DSPex, made).clusters do
  IO.puts("#{cluster.count} rows: #{cluster.kind} of #{cluster.metric}, such as #{hd(cluster.rows)}")
end

[worst | _] = Evaluation.page!(Example.DSPex, made, metric: :useful, order: :score, limit: 1).entries
IO.inspect({worst.example["review"], worst.scores["useful"]})

DSPex.stop(Example.DSPex)
