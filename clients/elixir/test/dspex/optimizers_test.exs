defmodule DSPex.OptimizersTest do
  @moduledoc "Optimizers: what goes out, what comes of the answers, and what is refused here."
  use ExUnit.Case, async: true

  import DSPex.Asking

  alias DSPex.{Dataset, Error, Example, Job, Metric, Optimizer, Optimizers, Program}
  alias DSPex.Optimizers.Optimized

  @moduletag :capture_log

  @rows [%{question: "Why?", answer: "So."}]

  defp sent(name, program, optimizer, options) do
    answering(name, %{"job" => "j1", "created" => true})
    assert {:ok, %Job{id: "j1"}} = Optimizers.start(name, program, optimizer, options)
    assert {"job.submit", %{}, %{"kind" => "optimize", "request" => request} = payload} = asked()
    {request, Map.drop(payload, ["kind", "request"])}
  end

  test "a stored program, rows and a metric", %{test: name} do
    options = [trainset: @rows, metric: Metric.exact_match("answer"), seed: 3]
    terms = [key: "k", budget: [usd: 1.5], experiment: "e"]
    {request, job} = sent(name, Program.new("qa", 2), {:SIMBA, bsize: 8}, options ++ terms)
    assert job == %{"key" => "k", "budget" => %{"usd" => 1.5}, "experiment" => "e"}

    assert request == %{
             "program" => "qa",
             "version" => 2,
             "optimizer" => %{"optimizer" => "SIMBA", "options" => %{"bsize" => 8}, "compile" => %{}},
             "metric" => %{"metric" => "exact_match", "options" => %{"field" => "answer"}},
             "trainset" => [%{"question" => "Why?", "answer" => "So."}],
             "seed" => 3
           }
  end

  test "a spec, a dataset, examples and a teacher", %{test: name} do
    example = Example.new(%{question: "Why?", answer: "So."}, inputs: [:question])

    options = [
      trainset: Dataset.new("rows", version: 4),
      valset: [example, [question: "How?"]],
      teacher: "wise",
      teacher_lm: "large",
      lm: :small,
      num_threads: 4,
      save_as: [program: "qa", tags: ["better"]]
    ]

    {request, _job} = sent(name, {:predict, "question -> answer"}, :BootstrapFewShot, options)
    assert request["spec"]["module"] == "Predict"
    assert request["trainset"] == %{"dataset" => "rows", "version" => 4}
    assert request["valset"] == [%{"question" => "Why?", "answer" => "So."}, %{"question" => "How?"}]
    assert request["teacher"] == %{"program" => "wise", "lm" => "large"}
    assert {request["lm"], request["num_threads"]} == {"small", 4}
    assert request["save_as"] == %{"program" => "qa", "tags" => ["better"]}
    refute is_map_key(request, "program")
  end

  test "a tag, of the program, its teacher and those of an ensemble", %{test: name} do
    tagged = Program.new("qa", tag: "best")
    {request, _job} = sent(name, tagged, :COPRO, teacher: Program.new("wise", tag: "old"))

    assert %{"program" => "qa", "tag" => "best", "teacher" => %{"program" => "wise", "tag" => "old"}} =
             request

    refute is_map_key(request, "version")
    {request, _job} = sent(:"#{name}2", [tagged, "b"], "Ensemble", [])
    assert request["programs"] == [%{"program" => "qa", "tag" => "best"}, %{"program" => "b"}]
  end

  test "several programs, of an ensemble; and steps of a strategy", %{test: name} do
    {request, _job} = sent(name, ["a", {:predict, "q -> a"}], "Ensemble", save_as: "both")
    assert [%{"program" => "a"}, %{"spec" => %{"module" => "Predict"}}] = request["programs"]
    assert request["save_as"] == %{"program" => "both"}

    steps = [optimizers: [p: {:LabeledFewShot, k: 3}, w: :COPRO]]
    {request, _job} = sent(:"#{name}2", "qa", Optimizer.new(:BetterTogether, steps, strategy: "p -> w"), [])
    assert %{"p" => %{"options" => %{"k" => 3}}, "w" => step} = request["optimizer"]["options"]["optimizers"]
    assert step == %{"optimizer" => "COPRO", "options" => %{}, "compile" => %{}}
    assert request["optimizer"]["compile"] == %{"strategy" => "p -> w"}
  end

  test "what came of a job", %{test: name} do
    result = %{
      "optimizer" => "COPRO",
      "program" => %{"spec" => %{"module" => "Predict"}, "state" => %{"self" => %{}}},
      "scores" => %{"start" => 0.2, "best" => 0.9},
      "history" => [%{"trial" => 1}],
      "trials" => 1,
      "failed" => nil,
      "usage" => %{"lm_calls" => 7}
    }

    saved = %{"program" => "qa", "version" => 3}
    answering(name, %{"job" => "j1", "result" => result, "saved" => saved, "replay" => %{"live" => 7}})
    assert {:ok, %Optimized{} = made} = Optimizers.result(name, "j1")
    assert {made.program, made.job, made.optimizer} == {%Program{id: "qa", version: 3}, "j1", "COPRO"}
    assert {made.scores["best"], made.history, made.usage["lm_calls"]} == {0.9, [%{"trial" => 1}], 7}
    assert {made.spec["module"], made.failed, made.replay} == {"Predict", nil, %{"live" => 7}}
  end

  test "those of the server, and one of them", %{test: name} do
    answering(name, %{"optimizers" => [%{"name" => "COPRO", "available" => true}]})
    assert {:ok, [%{"name" => "COPRO"}]} = Optimizers.list(name)
    assert %{"available" => true} = Optimizers.describe!(name, :COPRO)
    assert {:error, %Error{type: :invalid_argument} = error} = Optimizers.describe(name, :Magic)
    assert error.message =~ "COPRO"
  end

  test "what is wrong is said here, by its name, and nothing is sent", %{test: name} do
    answering(name, %{})
    start = &Optimizers.start(name, "qa", &1, &2)
    assert mistake(start.(3, [])) == "optimizer"
    assert mistake(start.({:COPRO, 3}, [])) == "optimizer"
    assert mistake(start.({:BetterTogether, optimizers: [p: 3]}, [])) == "optimizer.options.optimizers.p"
    assert mistake(start.(:COPRO, trainset: 3)) == "trainset"
    assert mistake(start.(:COPRO, trainset: [3])) == "trainset[0]"
    assert mistake(start.(:COPRO, metric: 3)) == "metric"
    assert mistake(start.(:COPRO, seed: "x")) == "seed"
    assert mistake(start.(:COPRO, lm: 3)) == "lm"
    assert mistake(start.(:COPRO, save_as: 3)) == "save_as"
    assert mistake(start.(:COPRO, bugdet: 3)) == "bugdet"
    assert mistake(start.(:COPRO, :x)) == "options"
    assert mistake(Optimizers.start(name, 3, :COPRO, [])) == "program"
    assert mistake(Optimizers.optimize(name, "qa", :COPRO, on_event: 3)) == "on_event"
  end
end
