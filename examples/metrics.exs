# How good predictions are: a metric made of others, a function of ours as a judge, a model as another.

command = "DSPEX_COMMAND" |> System.get_env("dspex serve") |> String.split()

# What only we know: an answer in the words of the question is no answer.
echoes = fn %{"example" => %{"question" => question}, "prediction" => %{"answer" => answer}} ->
  if String.downcase(answer) == String.downcase(question),
    do: %{score: 0, feedback: "it says the question again"},
    else: 1
end

{:ok, _} =
  DSPex.start_link(
    name: Example.DSPex,
    command: command,
    args: ["--log-level", "error", "--store", "memory"],
    lms: %{"default" => System.get_env("DSPEX_LM", "sim/example")},
    functions: %{"echoes" => echoes}
  )

alias DSPex.Metric

metric =
  Metric.weighted(
    right: {Metric.exact_match("answer", normalize: :case, any_of: true), 3},
    short: Metric.regex("answer", ~r/^.{1,40}$/s),
    own_words: Metric.host("echoes")
  )

rows = [
  {%{question: "Who wrote it?", answer: ["Austen", "Jane Austen"]}, %{answer: "jane austen"}},
  {%{question: "Who wrote it?", answer: ["Austen"]}, %{answer: "Who wrote it?"}},
  {%{question: "Who wrote it?"}, %{answer: "Nobody said what is right here."}}
]

scores = Metric.score!(Example.DSPex, metric, rows)
IO.puts("mean #{scores.mean} of #{scores.scored} rows, #{scores.failed} without a score")

for {result, index} <- Enum.with_index(scores.results) do
  case result do
    {:ok, %{feedback: nil} = score} -> IO.puts("row #{index}: #{score.score}")
    {:ok, score} -> IO.puts("row #{index}: #{score.score}: #{String.replace(score.feedback, "\n", "; ")}")
    {:error, error} -> IO.puts("row #{index}: #{error.message}")
  end
end

# A language model that says it on a scale, by a signature of ours; and one of DSPy's own.
clear = Metric.judge({:chain_of_thought, "question, answer -> clarity: int, advice"}, score: :clarity, scale: [0, 1000], feedback: :advice)
[{example, prediction} | _] = rows

for judge <- [clear, Metric.new("SemanticF1", example: [response: "question"], prediction: [response: "answer"])] do
  scores = Metric.score!(Example.DSPex, Metric.threshold(judge, 0.5), [{example, prediction}])
  IO.puts("#{judge.metric}: #{inspect(scores.passed)} passed, #{scores.usage["tokens_in"]} tokens read")
end

DSPex.stop(Example.DSPex)
