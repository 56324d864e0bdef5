defmodule DSPex.MetricServerTest do
  @moduledoc "Rows scored by the real server: plain, by DSPy's metrics, by judges and by functions of ours."
  use ExUnit.Case, async: false

  import DSPex.Servers

  alias DSPex.{Error, Metric}
  alias DSPex.Metric.Score

  @moduletag :server
  @moduletag :capture_log
  @moduletag timeout: 120_000

  setup_all do
    options = options(__MODULE__.DSPex, "memory", [])
    functions = Map.merge(options[:functions], %{"grade" => &grade/1})
    start_supervised!({DSPex, Keyword.put(options, :functions, functions)})
    DSPex.echo!(__MODULE__.DSPex, nil, timeout: 60_000)
    %{dspex: __MODULE__.DSPex}
  end

  defp grade(%{"example" => %{"answer" => "hang"}}), do: Process.sleep(:infinity)
  defp grade(%{"example" => %{"answer" => "raise"}}), do: raise("no idea")
  defp grade(%{"example" => %{"answer" => "odd"}}), do: 7

  defp grade(%{"example" => example, "prediction" => prediction}),
    do: %{score: if(example == prediction, do: 1, else: 0.25), feedback: "graded"}

  test "plain metrics and those made of them", %{dspex: dspex} do
    metric =
      Metric.weighted(
        right: {Metric.exact_match("answer", normalize: :case), 3},
        short: Metric.regex("answer", ~r/^.{1,5}$/s)
      )

    rows = [
      {%{answer: "Yes"}, %{answer: "yes"}},
      {%{answer: "Yes"}, %{answer: "no, never"}},
      {%{}, %{answer: "x"}}
    ]

    assert {:ok, scores} = Metric.score(dspex, metric, rows)
    assert [{:ok, first}, {:ok, second}, {:error, third}] = scores.results
    assert %Score{score: 1.0, parts: %{"right" => %Score{passed?: true}}} = first
    assert second.score == 0.0
    assert second.feedback =~ "right: expected 'yes', got 'no, never'"
    assert %Error{type: :metric_failed, details: %{"part" => "right", "field" => "example.answer"}} = third
    assert {scores.mean, scores.scored, scores.failed} == {0.5, 2, 1}
  end

  test "DSPy's own, by the names that the rows have", %{dspex: dspex} do
    rows = [{%{gold: ["Eiffel Tower", "Louvre"]}, %{answer: "The Eiffel Tower!"}}]
    em = Metric.new("EM", field: :answer, expected: :gold)
    assert Metric.score!(dspex, em, rows).passed == 1
    exact = Metric.new("answer_exact_match", example: %{answer: "gold"}, frac: 0.5)
    assert Metric.score!(dspex, exact, rows).mean == 1.0

    judged = Metric.new("SemanticF1", example: [response: "gold"], prediction: [response: "answer"])
    rows = [{%{question: "Where?", gold: "Paris"}, %{answer: "In Paris"}}]
    scores = Metric.score!(dspex, judged, rows, lm: "steady")
    assert scores.scored == 1
    assert scores.usage["lm_calls"] == 1
    assert scores.meta["lm_calls"] == 1
  end

  test "functions of ours score, and one that misbehaves costs its row", %{dspex: dspex} do
    answers = ["same", "other", "hang", "raise", "odd"]
    rows = for answer <- answers, do: {%{answer: answer}, %{answer: "same"}}
    metric = Metric.any(graded: Metric.host("grade"), never: Metric.exact_match("answer", value: "never"))
    scores = Metric.score!(dspex, metric, rows, row_timeout: 1_000)

    assert [{:ok, one}, {:ok, two}, {:error, hung}, {:error, raised}, {:error, odd}] = scores.results
    assert {one.score, one.parts["graded"].feedback, two.score} == {1.0, "graded", 0.25}
    assert %Error{type: :metric_timeout, details: %{"parts" => ["graded"]}} = hung
    assert %Error{type: :function_failed, details: %{"part" => "graded"}} = raised
    assert %Error{type: :metric_failed, details: %{"part" => "graded", "got" => "7"}} = odd
  end

  test "a judge is a program, with its model", %{dspex: dspex} do
    judge =
      Metric.judge({:predict, "question, answer -> good: bool, why"},
        score: :good,
        feedback: :why,
        lm: "steady"
      )

    scores = Metric.score!(dspex, judge, [{%{question: "Wet?"}, %{answer: "Yes"}}])
    assert [{:ok, %Score{passed?: passed, feedback: "" <> _}}] = scores.results
    assert is_boolean(passed)
    assert scores.usage["lm"] == "steady"
  end

  test "a metric is refused by the path of what is wrong", %{dspex: dspex} do
    for {metric, field} <- [
          {:oracle, "metric.metric"},
          {Metric.all(x: :exact_match), "metric.options.parts.x.options.field"},
          {Metric.regex("a", "("), "metric.options.pattern"},
          {Metric.host("nobody"), "metric.options.function"}
        ] do
      assert {:error, %Error{fault: :caller, details: %{"field" => ^field}}} = Metric.score(dspex, metric, [])
    end
  end
end
