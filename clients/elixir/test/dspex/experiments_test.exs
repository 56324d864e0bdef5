defmodule DSPex.ExperimentsTest do
  @moduledoc "Experiments: the frames that go out, and what comes of the answers."
  use ExUnit.Case, async: true

  import DSPex.Asking

  alias DSPex.{Error, Experiments, Page}
  alias DSPex.Experiments.Run

  @moduletag :capture_log

  @run Run.new("e", "run-1")

  test "names and words become texts", %{test: name} do
    answering(name, %{"experiment" => "e", "run" => "run-1"})
    options = [params: [k: 4, lm: :small, on: true], lineage: %{"program" => "qa"}, note: "n", write_id: "w"]
    assert Experiments.begin(name, "e", options) == {:ok, @run}
    assert {"experiment.begin", %{}, payload} = asked()

    assert payload == %{
             "experiment" => "e",
             "note" => "n",
             "params" => %{"k" => 4, "lm" => "small", "on" => true},
             "lineage" => %{"program" => "qa"}
           }
  end

  test "values go out in their order, with steps where there are some", %{test: name} do
    answering(name, nil)
    assert Experiments.log(name, @run, [loss: 1, loss: 0.5, f1: {0.25, 7}], write_id: "w") == :ok
    assert {"experiment.log", %{}, %{"experiment" => "e", "run" => "run-1", "points" => points}} = asked()

    assert points == [
             %{"name" => "loss", "value" => 1.0},
             %{"name" => "loss", "value" => 0.5},
             %{"name" => "f1", "value" => 0.25, "step" => 7}
           ]
  end

  test "what cannot be is refused before anything is sent", %{test: name} do
    answering(name, nil)
    assert mistake(Experiments.log(name, @run, loss: "high")) == "values.loss"
    assert mistake(Experiments.log(name, @run, [:loss])) == "values"
    assert mistake(Experiments.begin(name, "e", params: [1])) == "params"
    assert mistake(Experiments.begin(name, "e", run: "")) == "run"
    assert mistake(Experiments.runs(name, "e", lowest: 1)) == "lowest"
    assert mistake(Experiments.attach(name, @run, "a", "", media_type: 1)) == "media_type"
  end

  test "runs come as structs, and pages go on", %{test: name} do
    row = %{
      "experiment" => "e",
      "run" => "run-1",
      "number" => 1,
      "state" => "failed",
      "params" => %{"k" => 4},
      "metrics" => %{"f1" => %{"last" => 0.5, "step" => 3, "least" => 0.1, "most" => 0.5, "points" => 4}},
      "artifacts" => %{"a" => %{"media_type" => "text/plain", "size_bytes" => 2, "sha256" => "00"}}
    }

    answering(name, %{"runs" => [row], "next" => 1})
    assert {:ok, %Page{entries: [run], next: 1}} = Experiments.runs(name, "e", sort: :f1, lowest: true)
    assert %Run{id: "run-1", state: :failed, params: %{"k" => 4}} = run
    assert run.metrics["f1"] == %{last: 0.5, step: 3, least: 0.1, most: 0.5, points: 4}
    assert run.artifacts["a"].size_bytes == 2
    assert {"experiment.runs", %{}, %{"sort" => "f1", "lowest" => true}} = asked()
  end

  test "an error is returned, and raised by the twin", %{test: name} do
    answering(name, Error.new(:unknown_experiment, "there is no experiment \"e\""))
    assert {:error, %Error{type: :unknown_experiment}} = Experiments.get(name, @run)
    assert_raise Error, fn -> Experiments.finish!(name, @run) end
    assert_raise Error, fn -> Enum.to_list(Experiments.points(name, @run)) end
  end
end
