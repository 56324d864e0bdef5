defmodule DSPex.MetricTest do
  @moduledoc "Metrics: what goes out, what comes of the answers, and what is refused here."
  use ExUnit.Case, async: true

  import DSPex.Asking

  alias DSPex.{Error, Example, Metric, Prediction, Spec}
  alias DSPex.Metric.{Score, Scores}

  @moduletag :capture_log

  @none %{
    "rows" => 0,
    "scored" => 0,
    "failed" => 0,
    "passed" => nil,
    "mean" => nil,
    "usage" => %{},
    "results" => []
  }

  defp sent(name, metric) do
    answering(name, @none)
    assert {:ok, %Scores{results: []}} = Metric.score(name, metric, [])
    assert {"metric.score", %{}, %{"metric" => spec, "rows" => []}} = asked()
    spec
  end

  defp spec(metric, options), do: %{"metric" => metric, "options" => options}

  test "a metric of a field names it, with its options", %{test: name} do
    expected = spec("exact_match", %{"field" => "answer", "normalize" => "case", "any_of" => true})
    assert sent(name, Metric.exact_match(:answer, normalize: :case, any_of: true)) == expected
    assert Metric.new("exact_match", %{field: "answer"}) == Metric.exact_match("answer")
    assert Metric.contains("a", value: :atom).options["value"] == :atom

    for {made, kind} <- [
          {Metric.contains("a"), "contains"},
          {Metric.numeric("a"), "numeric"},
          {Metric.json_match("a"), "json_match"},
          {Metric.token_f1("a"), "token_f1"},
          {Metric.set_f1("a"), "set_f1"},
          {Metric.edit_distance("a"), "edit_distance"}
        ],
        do: assert(made == %Metric{metric: kind, options: %{"field" => "a"}})
  end

  test "a pattern is a string or a Regex, with what modifiers both know" do
    assert Metric.regex("a", "b+", whole: true).options == %{
             "field" => "a",
             "pattern" => "b+",
             "whole" => true
           }

    assert Metric.regex("a", ~r/b+/u).options["pattern"] == "b+"
    assert Metric.regex("a", ~r/b+/isx).options["pattern"] == "(?isx)b+"
    assert_raise Error, ~r/pattern: expected a Regex with modifiers/, fn -> Metric.regex("a", ~r/b+/U) end
    assert_raise Error, ~r/pattern: expected a string or a Regex/, fn -> Metric.regex("a", 3) end
  end

  test "metrics are made of others, by name or in a list", %{test: name} do
    one = Metric.exact_match("a")
    wire = spec("exact_match", %{"field" => "a"})
    weighted = Metric.weighted(x: {one, 0.5}, y: :EM, z: {:F1, field: :b})

    assert sent(name, weighted) ==
             spec("weighted", %{
               "parts" => %{"x" => wire, "y" => spec("EM", %{}), "z" => spec("F1", %{"field" => "b"})},
               "weights" => %{"x" => 0.5}
             })

    assert Metric.all([one, one, "EM"]).options["parts"] |> Map.keys() == [
             "EM",
             "exact_match",
             "exact_match_2"
           ]

    assert Metric.weighted([{one, 2}, one]).options["weights"] == %{"exact_match" => 2}
    assert Metric.any(%{"x" => one}) == Metric.any(x: one)
    assert Metric.any([{"x", one}]) == Metric.any(x: one)
    assert Metric.negate(one).options == %{"metric" => wire}
    assert Metric.threshold(one, 0.5).options == %{"metric" => wire, "at" => 0.5}
    assert Metric.by_field(a: :exact_match).options == %{"fields" => %{"a" => spec("exact_match", %{})}}
  end

  test "a judge has a program, and a function of the host its limit in seconds" do
    program = {:predict, "answer -> score: bool"}
    judge = Metric.judge(program, feedback: :why, inputs: [answer: "example.answer"], scale: [1, 5])
    {:ok, spec} = Spec.from(program)

    assert judge.options == %{
             "program" => Spec.to_wire(spec),
             "feedback" => "why",
             "inputs" => %{"answer" => "example.answer"},
             "scale" => [1, 5]
           }

    assert Metric.host(:grade, timeout: 500).options == %{"function" => "grade", "timeout_s" => 0.5}
  end

  test "rows are pairs of fields, examples or predictions", %{test: name} do
    answering(name, @none)
    example = Example.new([question: "q", answer: "a"], inputs: [:question])
    rows = [{%{answer: 1}, [answer: 2]}, {example, Prediction.new(%{"answer" => "a"})}]
    options = [lm: "strict", parallelism: 4, row_timeout: 500, tenant: "t"]
    assert {:ok, %Scores{}} = Metric.score(name, :EM, rows, options)
    assert {"metric.score", %{"tenant" => "t"}, payload} = asked()

    assert payload == %{
             "metric" => spec("EM", %{}),
             "rows" => [
               %{"example" => %{"answer" => 1}, "prediction" => %{"answer" => 2}},
               %{"example" => example, "prediction" => %{"answer" => "a"}}
             ],
             "lm" => "strict",
             "parallelism" => 4,
             "row_deadline_ms" => 500
           }
  end

  test "each row has a score or an error", %{test: name} do
    part = %{"score" => 1.0, "passed" => true, "feedback" => nil, "parts" => %{}}
    score = %{"score" => 0.5, "passed" => nil, "feedback" => "half", "parts" => %{"x" => part}}
    failed = %{"error" => Error.to_wire(Error.new(:metric_failed, "no", details: %{"part" => "y"}))}

    answering(name, %{
      @none
      | "results" => [score, failed],
        "mean" => 0.5,
        "scored" => 1,
        "failed" => 1,
        "usage" => %{"lm_calls" => 2}
    })

    scores = Metric.score!(name, :EM, [])

    assert [{:ok, %Score{score: 0.5, passed?: nil, feedback: "half", parts: parts}}, {:error, error}] =
             scores.results

    assert parts == %{"x" => %Score{score: 1.0, passed?: true}}
    assert %Error{type: :metric_failed, fault: :program, details: %{"part" => "y"}} = error
    assert {scores.mean, scores.scored, scores.failed, scores.usage} == {0.5, 1, 1, %{"lm_calls" => 2}}
    assert inspect(scores) == "#DSPex.Metric.Scores<mean 0.5, 1 scored, 1 failed>"
  end

  test "mistakes are found before anything is sent", %{test: name} do
    answering(name, @none)
    assert mistake(Metric.score(name, 3, [])) == "metric"
    assert mistake(Metric.score(name, {:EM, 3}, [])) == "metric"
    assert mistake(Metric.score(name, :EM, %{})) == "rows"
    assert mistake(Metric.score(name, :EM, [{%{}, %{}}, %{}])) == "rows[1]"
    assert mistake(Metric.score(name, :EM, [{%{}, 3}])) == "rows[0].prediction"
    assert mistake(Metric.score(name, :EM, [], row_timeout: 0)) == "row_timeout"
    assert mistake(Metric.score(name, :EM, [], config: [])) == "config"
    assert_raise Error, ~r/^invalid_argument: metric/, fn -> Metric.score!(name, nil, []) end
    assert_raise Error, ~r/parts\.b: expected a DSPex.Metric/, fn -> Metric.all(a: :EM, b: 3) end
    assert_raise Error, ~r/parts\.a: expected each name once/, fn -> Metric.all(a: :EM, a: :F1) end
    assert_raise Error, ~r/parts: expected metrics/, fn -> Metric.all([]) end
    assert_raise Error, ~r/field: expected the name/, fn -> Metric.exact_match(nil) end
    assert_raise Error, ~r/options: expected a map or keyword list/, fn -> Metric.new(:EM, 3) end
    assert_raise Error, ~r/metric: expected the name/, fn -> Metric.new(nil) end
  end

  test "an error is handed on, and another answer is one", %{test: name} do
    answering(name, fn _payload -> "scored" end)
    assert {:error, %Error{type: :internal}} = Metric.score(name, :EM, [])
  end
end
