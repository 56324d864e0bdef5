defmodule DSPex.StoredExperimentsTest do
  @moduledoc "Experiments with the real server."
  use ExUnit.Case, async: false

  import DSPex.Servers

  alias DSPex.{Binary, Error, Experiments}
  alias DSPex.Experiments.Run

  @moduletag :server
  @moduletag :capture_log
  @moduletag timeout: 120_000

  setup_all do
    %{dspex: stored(__MODULE__.DSPex, "memory")}
  end

  test "a run from its beginning to its end", %{dspex: dspex} do
    run = Experiments.begin!(dspex, "life", params: [k: 4], lineage: [program: "qa", version: 2])
    for value <- [0.5, 0.25], do: :ok = Experiments.log(dspex, run, loss: value)
    :ok = Experiments.attach(dspex, run, "note", "fine — \u2603")
    :ok = Experiments.attach(dspex, run, "bytes", <<255, 0>>)
    :ok = Experiments.finish(dspex, run)
    assert %Run{state: :done, lineage: %{"version" => 2}} = told = Experiments.get!(dspex, run)
    assert told.metrics["loss"] == %{last: 0.25, step: 1, least: 0.25, most: 0.5, points: 2}
    assert for(point <- Experiments.points(dspex, run), do: point.value) == [0.5, 0.25]
    assert Experiments.artifact!(dspex, run, "note") == "fine — \u2603"
    assert Experiments.artifact!(dspex, run, "bytes") == Binary.new(<<255, 0>>)

    assert {:error, %Error{type: :invalid_argument, details: %{"field" => "run"}}} =
             Experiments.log(dspex, run, loss: 1)
  end

  test "many processes say things of one run, and all of it is there", %{dspex: dspex} do
    run = Experiments.begin!(dspex, "many")

    1..20
    |> Enum.map(fn n -> Task.async(fn -> Experiments.log!(dspex, run, n: n) end) end)
    |> Task.await_many(60_000)

    values = for point <- Experiments.points(dspex, run, limit: 3), do: point.value
    assert Enum.sort(values) == Enum.map(1..20, &(&1 * 1.0))
  end

  test "an evaluation and a job tell of themselves", %{dspex: dspex} do
    rows = for n <- 1..3, do: %{question: "q#{n}", answer: "q#{n}"}
    data = DSPex.Datasets.put!(dspex, "told", rows, inputs: [:question])
    metrics = [right: DSPex.Metric.exact_match("answer")]

    made =
      DSPex.Evaluation.run!(dspex, {"Predict", "question -> answer"}, data,
        metrics: metrics,
        experiment: "told"
      )

    assert %Run{state: :done, lineage: lineage, metrics: metrics} = Experiments.get!(dspex, made.run)
    assert %{"dataset" => "told", "dataset_version" => 1, "evaluation" => id} = lineage
    assert {id, metrics["right"].last, metrics["lm_calls"].last} == {made.id, made.scores["right"].mean, 3.0}

    options = [experiment: "told", note: "a try", seed: 3]
    job = DSPex.Synthesis.start!(dspex, "written", "text -> stars: int", 4, options)
    assert {:error, %Error{type: :prediction_failed}} = DSPex.Synthesis.await(dspex, job)
    assert DSPex.Jobs.get!(dspex, job).run == job.run
    told = Experiments.get!(dspex, job.run)
    assert %Run{state: :failed, note: "a try\nprediction_failed: " <> _} = told
    assert %{"kind" => "synthesize", "seed" => 3} = told.params
    assert for(run <- Experiments.runs!(dspex, "told").entries, do: run.id) == [job.run.id, made.run.id]
  end

  test "runs are compared, and deleted", %{dspex: dspex} do
    for {name, value} <- [a: 0.5, b: 0.75, c: 0.25] do
      run = Experiments.begin!(dspex, "best", run: Atom.to_string(name))
      Experiments.log!(dspex, run, f1: value)
    end

    order = fn options -> for run <- Experiments.runs!(dspex, "best", options).entries, do: run.id end
    assert order.(sort: "f1") == ["b", "a", "c"]
    assert order.([]) == ["c", "b", "a"]
    :ok = Experiments.delete(dspex, Run.new("best", "b"))
    assert order.(sort: :f1, lowest: true) == ["c", "a"]
    :ok = Experiments.delete(dspex, "best")
    assert {:error, %Error{type: :unknown_experiment}} = Experiments.runs(dspex, "best")
    refute Enum.any?(Experiments.list!(dspex).entries, &(&1.experiment == "best"))
  end

  test "a write whose answer was lost is made once", %{dspex: dspex} do
    first = Experiments.begin!(dspex, "once", write_id: "experiments-1")
    assert Experiments.begin!(dspex, "once", write_id: "experiments-1") == first
    for _ <- 1..3, do: :ok = Experiments.log(dspex, first, [f1: 1], write_id: "experiments-2")
    assert Experiments.get!(dspex, first).metrics["f1"].points == 1
  end
end
