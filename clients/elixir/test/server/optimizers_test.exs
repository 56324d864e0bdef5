defmodule DSPex.OptimizersServerTest do
  @moduledoc "Programs that DSPy's optimizers make better behind the real server."
  use ExUnit.Case, async: false

  import DSPex.Servers

  alias DSPex.{Error, Metric, Optimizers, Program, Programs}
  alias DSPex.Jobs.Event

  @moduletag :server
  @moduletag :capture_log
  @moduletag timeout: 180_000

  @sounds %{
    "cow" => "moo",
    "dog" => "woof",
    "cat" => "meow",
    "horse" => "neigh",
    "pig" => "oink",
    "sheep" => "baa",
    "duck" => "quack",
    "owl" => "hoot",
    "lion" => "roar",
    "snake" => "hiss"
  }
  @rows for {animal, sound} <- Enum.sort(@sounds), do: %{animal: animal, sound: sound}

  setup_all do
    learner = %{model: "sim/learner", options: %{lesson: %{answers: @sounds, start: 0.2}}}
    options = options(__MODULE__.DSPex, "memory", [])
    functions = Map.merge(options[:functions], %{"right" => &right/1})
    options = Keyword.merge(options, functions: functions, lms: %{"default" => learner})
    start_supervised!({DSPex, options})
    DSPex.echo!(__MODULE__.DSPex, nil, timeout: 60_000)
    %{dspex: __MODULE__.DSPex}
  end

  defp right(%{"example" => example, "prediction" => prediction}), do: example["sound"] == prediction["sound"]

  test "a program's next version, with its trials told meanwhile", %{dspex: dspex} do
    program = DSPex.create!(dspex, {:predict, "animal -> sound"}, program: "sounds")
    me = self()

    assert {:ok, made} =
             Optimizers.optimize(
               dspex,
               program.id,
               {:BootstrapFewShotWithRandomSearch, num_candidate_programs: 2, max_bootstrapped_demos: 2},
               metric: Metric.exact_match("sound"),
               trainset: @rows,
               valset: @rows,
               budget: [lm_calls: 500],
               on_event: &send(me, &1)
             )

    assert made.scores["best"] > made.scores["start"]
    assert %Program{id: "sounds", version: 2} = made.program
    assert_received {:event, %Event{type: "trial", data: %{"trial" => 1, "score" => _score}}}
    assert made.trials == 5
    assert {made.failed, made.unscored, made.unanswered} == {nil, nil, nil}

    right = Enum.count(@rows, &(DSPex.predict!(dspex, made.program, animal: &1.animal).sound == &1.sound))

    assert made.scores["best"] == right / length(@rows)
  end

  test "a metric that is a function of ours, of a spec", %{dspex: dspex} do
    {:ok, job} =
      Optimizers.start(dspex, {:predict, "animal -> sound"}, {:BootstrapFewShot, max_bootstrapped_demos: 2},
        metric: Metric.host("right"),
        trainset: @rows,
        key: "once"
      )

    assert {:ok, %{state: :done, saved: nil}} = DSPex.Jobs.await(dspex, job)
    assert made = Optimizers.result!(dspex, job)
    assert length(made.state["self"]["demos"]) > 2
    assert made.scored_rows >= 2
  end

  test "a tag means the version that it is on at the submission", %{dspex: dspex} do
    DSPex.create!(dspex, {:predict, "animal -> sound"}, program: "tagged", tags: ["first"])
    Programs.update!(dspex, "tagged", state: %{"self" => %{"instructions" => "Say what it says."}})

    assert {:ok, made} =
             Optimizers.optimize(dspex, Program.new("tagged", tag: "first"), :LabeledFewShot,
               trainset: @rows,
               save_as: "made of the first"
             )

    assert %Program{id: "made of the first", version: 1} = made.program
    events = DSPex.Jobs.events!(dspex, made.job).entries
    assert [%{data: %{"version" => 1}}] = Enum.filter(events, &(&1.type == "optimizing"))
  end

  test "what is not there is said before there is a job, with the option that names it", %{dspex: dspex} do
    refused = fn program, options ->
      assert {:error, %Error{} = error} = Optimizers.start(dspex, program, :LabeledFewShot, options)
      {error.type, error.details["field"]}
    end

    spec = {:predict, "animal -> sound"}
    DSPex.create!(dspex, spec, program: "untagged")
    assert {:unknown_program, "request.program"} = refused.("nobody's", trainset: @rows)
    assert {:unknown_program, "request.tag"} = refused.(Program.new("untagged", tag: "x"), trainset: @rows)
    assert {:unknown_dataset, "request.trainset.dataset"} = refused.(spec, trainset: "nobody's")
    refute Enum.any?(DSPex.Jobs.list!(dspex).entries, &(&1.state == :failed))
  end

  test "what cannot be is said before there is a job", %{dspex: dspex} do
    start = &Optimizers.start(dspex, {:predict, "animal -> sound"}, &1, trainset: @rows)
    assert {:error, %Error{details: %{"field" => "request.metric"}}} = start.(:COPRO)
    assert {:error, %Error{details: %{"field" => "request.optimizer.optimizer"}}} = start.(:Magic)
    assert {:error, %Error{} = error} = start.({:LabeledFewShot, k: 0})
    assert {error.type, error.details["field"]} == {:invalid_argument, "request.optimizer.options.k"}
    assert {:error, %Error{message: message}} = start.(:AvatarOptimizer)
    assert message =~ "TypedPredictor"
  end

  test "all of them are described", %{dspex: dspex} do
    names = for %{"name" => name} <- Optimizers.list!(dspex), do: name
    assert "GEPA" in names and "SIMBA" in names
    assert %{"options" => %{"auto" => %{"default" => "light"}}} = Optimizers.describe!(dspex, :MIPROv2)
  end
end
