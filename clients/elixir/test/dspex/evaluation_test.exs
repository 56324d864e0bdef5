defmodule DSPex.EvaluationTest do
  @moduledoc "Evaluations: the frames that go out, rows as they come, and what comes of the answers."
  use ExUnit.Case, async: true

  import DSPex.Asking
  import DSPex.Instances, only: [controlled: 1, receive_frame: 1]

  alias DSPex.{Dataset, Error, Evaluation, Metric, Page, Program, Tagged, Test}
  alias DSPex.Evaluation.{Comparison, Failures, Figures, Pair, Row}

  @moduletag :capture_log

  @metrics [right: Metric.exact_match("answer")]
  @spec_of_right %{"metric" => "exact_match", "options" => %{"field" => "answer"}}
  @figures %{"scored" => 2, "failed" => 1, "passed" => 1, "mean" => 0.5, "mean_scored" => 0.75, "low" => 0.1}
  @made %{
    "evaluation" => "e",
    "program" => "qa",
    "version" => 3,
    "spec" => nil,
    "dataset" => "moods",
    "dataset_version" => 2,
    "select" => %{"sample" => 3, "seed" => 1},
    "checksum" => "ab",
    "state" => "stopped",
    "metrics" => %{"right" => @spec_of_right},
    "failure_score" => 0.0,
    "rows" => 4,
    "done" => 2,
    "failed" => 1,
    "scores" => %{"right" => @figures},
    "usage" => %{"lm_calls" => 3},
    "latency_ms" => %{"p50" => 1.5},
    "experiment" => "x",
    "run" => "run-2"
  }
  @row %{
    "index" => 1,
    "row" => 7,
    "example" => %{"question" => "?", "answer" => "a"},
    "prediction" => %Tagged{tag: "prediction", value: %{"fields" => %{"answer" => "a"}}},
    "error" => nil,
    "scores" => %{"right" => %{"score" => 1.0, "passed" => true, "feedback" => nil, "parts" => %{}}},
    "usage" => %{"lm_calls" => 1},
    "worker_ms" => 2.5
  }

  defp failed_row do
    error = Error.to_wire(Error.new(:prediction_failed, "nonsense"))
    metric_error = %{"error" => Error.to_wire(Error.new(:metric_timeout, "late"))}

    [
      %{@row | "prediction" => nil, "error" => error, "scores" => %{}},
      %{@row | "scores" => %{"right" => metric_error}}
    ]
  end

  test "a run goes out with all that it was given", %{test: name} do
    answering(name, @made)
    on = Dataset.sample(Dataset.new("moods", version: 2), 3, seed: 1)

    options = [
      metrics: @metrics ++ [short: {"regex", field: "answer", pattern: "x"}],
      evaluation: "e",
      again: true,
      failure_score: 0.5,
      parallelism: 4,
      max_errors: 2,
      row_timeout: 500,
      metric_timeout: 100,
      trace: true,
      requests: true,
      note: "n",
      experiment: "x",
      lm: "fast",
      lane: :interactive
    ]

    assert {:ok, %Evaluation{} = made} = Evaluation.run(name, Program.new("qa", version: 3), on, options)
    assert {"evaluation.run", meta, payload} = asked()
    assert %{"program" => "qa", "version" => 3, "credit" => 64, "lane" => "interactive"} = meta

    assert payload == %{
             "dataset" => %{
               "dataset" => "moods",
               "version" => 2,
               "select" => %{"sample" => 3, "seed" => 1}
             },
             "metrics" => %{
               "right" => @spec_of_right,
               "short" => %{"metric" => "regex", "options" => %{"field" => "answer", "pattern" => "x"}}
             },
             "evaluation" => "e",
             "again" => true,
             "failure_score" => 0.5,
             "parallelism" => 4,
             "max_errors" => 2,
             "row_deadline_ms" => 500,
             "metric_deadline_ms" => 100,
             "trace" => true,
             "requests" => true,
             "note" => "n",
             "experiment" => "x",
             "lm" => "fast"
           }

    assert made.run == DSPex.Experiments.Run.new("x", "run-2")
    assert {made.id, made.state, made.rows, made.done, made.failed} == {"e", :stopped, 4, 2, 1}
    assert {made.program, made.dataset} == {%Program{id: "qa", version: 3}, on}
    assert %Figures{mean: 0.5, mean_scored: 0.75, passed: 1, high: nil} = made.scores["right"]
    assert inspect(made) == "#DSPex.Evaluation<e stopped: 2 done, 1 failed of 4, right 0.5>"
  end

  test "rows of all kinds go along, with the fields that are inputs", %{test: name} do
    answering(name, @made)
    example = DSPex.Example.new(%{question: "?"}, inputs: [:question])
    rows = [%{question: "?"}, [question: "?"], example]

    assert {:ok, _} =
             Evaluation.run(name, {"Predict", "question -> answer"}, rows,
               metrics: %{"right" => @spec_of_right},
               inputs: [:question]
             )

    assert {"evaluation.run", _meta, payload} = asked()
    row = %{"question" => "?"}
    assert %{"rows" => [^row, ^row, ^row], "input_keys" => ["question"], "spec" => %{}} = payload
  end

  test "each row is told as it comes, and the evaluation at the end", %{test: name} do
    controlled(name)
    me = self()

    task =
      Task.async(fn ->
        Evaluation.run(name, "qa", "moods", metrics: @metrics, on_row: &send(me, {:row, &1}))
      end)

    {server, %{id: id, method: "evaluation.run"}, _payload} = receive_frame(:call)
    Test.send_frame(server, :item, id, nil, %{"seq" => 0}, @row)
    assert_receive {:row, %Row{index: 1, row: 7, worker_ms: 2.5} = row}
    assert {:ok, %{answer: "a"}} = row.result
    assert {:ok, %Metric.Score{score: 1.0, passed?: true}} = row.scores["right"]
    [program, metric] = failed_row()
    Test.send_frame(server, :item, id, nil, %{"seq" => 1}, program)
    assert_receive {:row, %Row{result: {:error, %Error{type: :prediction_failed}}, scores: scores}}
    assert scores == %{}
    Test.send_frame(server, :item, id, nil, %{"seq" => 2}, metric)
    assert_receive {:row, %Row{scores: %{"right" => {:error, %Error{type: :metric_timeout}}}}}
    Test.send_frame(server, :reply, id, nil, %{}, @made)
    assert {:ok, %Evaluation{id: "e"}} = Task.await(task)
  end

  test "a stream has the rows and then the evaluation, and halting cancels", %{test: name} do
    controlled(name)
    stream = Evaluation.stream(name, "qa", "moods", metrics: @metrics, credit: 4)
    refute_receive {Test, _, _, _}, 20
    task = Task.async(fn -> Enum.to_list(stream) end)
    {server, %{id: id, meta: %{"credit" => 4}}, _} = receive_frame(:call)
    Test.send_frame(server, :item, id, nil, %{"seq" => 0}, @row)
    Test.send_frame(server, :reply, id, nil, %{}, @made)
    assert [%Row{}, %Evaluation{}] = Task.await(task)
    task = Task.async(fn -> Enum.take(stream, 1) end)
    {server, %{id: id}, _} = receive_frame(:call)
    Test.send_frame(server, :item, id, nil, %{"seq" => 0}, @row)
    assert {_, %{id: ^id}, nil} = receive_frame(:cancel)
    assert [%Row{}] = Task.await(task)
    task = Task.async(fn -> catch_error(Enum.to_list(stream)) end)
    {server, %{id: id}, _} = receive_frame(:call)
    Test.send_frame(server, :fail, id, nil, %{}, Error.to_wire(Error.new(:evaluation_taken, "gone")))
    assert %Error{type: :evaluation_taken, retryable?: false} = Task.await(task)
  end

  test "evaluations are got, listed and deleted", %{test: name} do
    answering(name, @made)
    assert {:ok, %Evaluation{id: "e"} = made} = Evaluation.get(name, "e")
    assert {"evaluation.get", %{}, %{"evaluation" => "e"}} = asked()
    assert Evaluation.delete!(name, made) == :ok
    assert {"evaluation.delete", %{}, %{"evaluation" => "e"}} = asked()
  end

  test "a list has pages", %{test: name} do
    answering(name, %{"evaluations" => [@made], "next" => "e"})
    assert {:ok, %Page{entries: [%Evaluation{}], next: "e"}} = Evaluation.list(name, program: "qa", limit: 1)
    assert {"evaluation.list", %{}, %{"program" => "qa", "limit" => 1}} = asked()
  end

  test "rows are found", %{test: name} do
    answering(name, fn payload -> %{"rows" => [@row], "next" => if(payload["offset"], do: nil, else: 1)} end)

    assert [%Row{}, %Row{}] =
             name
             |> Evaluation.rows("e", metric: :right, passed: false, max: 0.5, order: :score, descending: true)
             |> Enum.to_list()

    found = %{"metric" => "right", "passed" => false, "max" => 0.5, "sort" => "score", "descending" => true}
    expected = Map.put(found, "evaluation", "e")
    assert {"evaluation.rows", %{}, ^expected} = asked()
    expected = Map.put(expected, "offset", 1)
    assert {"evaluation.rows", %{}, ^expected} = asked()
  end

  test "a comparison says what is significant", %{test: name} do
    pair = %{
      "a" => "e",
      "b" => "f",
      "rows" => 3,
      "mean_a" => 0.5,
      "mean_b" => 0.75,
      "difference" => 0.25,
      "low" => 0.1,
      "high" => 0.4,
      "p" => 0.01,
      "p_holm" => 0.02,
      "significant" => true,
      "wins" => 2,
      "losses" => 0,
      "ties" => 1
    }

    answering(name, %{
      "evaluations" => [%{"evaluation" => "e"}, %{"evaluation" => "f"}],
      "metrics" => %{"right" => [pair]},
      "left_out" => ["short"],
      "rows" => [%{"index" => 0, "row" => 4, "scores" => %{"right" => [1.0, nil]}}],
      "dataset" => nil,
      "seed" => 0,
      "resamples" => 2000,
      "confidence" => 0.95,
      "comparisons" => 2
    })

    evaluation = %Evaluation{id: "e"}

    assert {:ok, %Comparison{} = compared} =
             Evaluation.compare(name, [evaluation, "f"], seed: 3, metrics: [:right])

    assert {"evaluation.compare", %{}, %{"evaluations" => ["e", "f"], "seed" => 3, "metrics" => ["right"]}} =
             asked()

    assert [%Pair{b: "f", difference: 0.25, p_holm: 0.02, significant?: true, wins: 2}] =
             compared.metrics["right"]

    assert [%{index: 0, row: 4, scores: %{"right" => [1.0, nil]}}] = compared.rows
    assert {compared.dataset, compared.left_out, compared.comparisons} == {nil, ["short"], 2}
  end

  test "failures are clusters", %{test: name} do
    cluster = %{
      "kind" => "metric_error",
      "metric" => "right",
      "code" => "metric_failed",
      "count" => 2,
      "rows" => [1, 5]
    }

    answering(name, %{"evaluation" => "e", "rows" => 9, "failing" => 2, "clusters" => [cluster]})
    assert {:ok, %Failures{failing: 2, clusters: [found]}} = Evaluation.failures(name, "e", below: 0.7)
    assert %{kind: :metric_error, metric: "right", count: 2, rows: [1, 5], part: nil} = found
    assert {"evaluation.failures", %{}, %{"evaluation" => "e", "below" => 0.7}} = asked()
  end

  test "what is wrong is named before anything is sent", %{test: name} do
    answering(name, @made)

    for {rows, options, field} <- [
          {"moods", [], "metrics"},
          {"moods", [metrics: []], "metrics"},
          {"moods", [metrics: [right: 3]], "metrics.right"},
          {"moods", [metrics: ["right"]], "metrics"},
          {"moods", [metrics: @metrics, inputs: [:question]], "inputs"},
          {[%{}, 3], [metrics: @metrics], "rows[1]"},
          {3, [metrics: @metrics], "rows"},
          {[], [metrics: @metrics, inputs: 3], "inputs"},
          {[], [metrics: @metrics, on_row: 3], "on_row"},
          {[], [metrics: @metrics, failure_score: "x"], "failure_score"},
          {[], [metrics: @metrics, metric_timeout: 0], "metric_timeout"},
          {[], [metrics: @metrics, parallel: 1], "parallel"}
        ] do
      assert mistake(Evaluation.run(name, "qa", rows, options)) == field
    end

    assert mistake(Evaluation.get(name, 3)) == "evaluation"
    assert mistake(Evaluation.compare(name, "e")) == "evaluations"
    assert mistake(Evaluation.page(name, "e", order: :cost)) == "order"
    assert_raise Error, ~r/metrics: expected/, fn -> Evaluation.run!(name, "qa", []) end
    assert_raise Error, ~r/metrics: expected/, fn -> Enum.to_list(Evaluation.stream(name, "qa", [])) end
  end
end
