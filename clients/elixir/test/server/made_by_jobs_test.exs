defmodule DSPex.MadeByJobsServerTest do
  @moduledoc "A dataset that a model wrote, and a model made of a dataset: the real server and provider."
  use ExUnit.Case, async: false

  alias DSPex.{Datasets, Error, Finetuning, Jobs, Synthesis}

  @moduletag :server
  @moduletag :capture_log
  @moduletag timeout: 240_000

  setup_all do
    small = %{model: "openai/sim-base", api_base: sim_lm()}

    start_supervised!(
      {DSPex,
       name: __MODULE__,
       command: OptionParser.split(System.fetch_env!("DSPEX_COMMAND")),
       args: ["--workers", "1", "--log-level", "error"],
       env: %{"DSPEX_STORE" => "memory"},
       lms: %{default: "sim/writer", small: small},
       timeout: 60_000}
    )

    :ok
  end

  test "rows are written, looked through and stored" do
    job =
      Synthesis.start!(__MODULE__, "written", "text -> stars: int", 9,
        seed: 3,
        note: "by a test",
        experiment: "e"
      )

    assert {:ok, %{rows: 9, stopped: nil} = written} = Synthesis.await(__MODULE__, job)
    assert %{rows: 9, by: "put", note: "by a test"} = Datasets.get!(__MODULE__, written.dataset)
    rows = Enum.to_list(Datasets.rows(__MODULE__, written.dataset))
    assert 9 == rows |> Enum.uniq_by(& &1["text"]) |> length()
    types = for event <- Jobs.events!(__MODULE__, job).entries, do: event.type
    assert "wave" in types
    run = DSPex.Experiments.get!(__MODULE__, job.run)
    assert {run.state, run.lineage["dataset_version"]} == {:done, written.dataset.version}
    assert run.metrics["wave.rows"].last == 9.0

    assert {:error, %Error{type: :invalid_argument}} =
             Synthesis.start(__MODULE__, "written", "text -> stars: int", 0)
  end

  test "a model is made of a dataset, and asked by its name" do
    rows = for number <- 0..11, do: %{number: number, double: 2 * number}
    doubles = Datasets.put!(__MODULE__, "doubles", rows, signature: "number: int -> double: int")

    job =
      Finetuning.start!(__MODULE__, :small, doubles, signature: "number: int -> double: int", experiment: "e")

    assert {:ok, %{examples: 12} = tuned} = Finetuning.await(__MODULE__, job)
    run = DSPex.Experiments.get!(__MODULE__, job.run)
    assert %{"dataset" => "doubles", "dataset_version" => 1, "model" => model} = run.lineage
    assert {model, tuned.lm} == {tuned.model, run.lineage["lm"]}
    assert %{points: losses, least: least, most: most} = run.metrics["train_loss"]
    assert losses > 1 and least < most
    assert "small@ft:" <> _ = tuned.lm
    program = {:predict, "number: int -> double: int"}
    assert {:ok, %{double: 14}} = DSPex.predict(__MODULE__, program, %{number: 7}, lm: tuned.lm)

    few = Datasets.put!(__MODULE__, "few", Enum.take(rows, 3), inputs: [:number])
    job = Finetuning.start!(__MODULE__, :small, few, signature: "number: int -> double: int")
    assert {:error, %Error{type: :finetune_failed}} = Finetuning.await(__MODULE__, job)
  end

  # It ends with its stdin, which is this port's.
  defp sim_lm do
    [dspex | _serve] = OptionParser.split(System.fetch_env!("DSPEX_COMMAND"))
    arguments = ["sim-lm", "--until-eof", "--tuning-s", "0.2"]
    program = System.find_executable(dspex)
    port = Port.open({:spawn_executable, program}, [:binary, {:line, 1024}, args: arguments])
    assert_receive {^port, {:data, {:eol, line}}}, 60_000
    [[base]] = Regex.scan(~r/http:[^"]+/, line)
    base
  end
end
