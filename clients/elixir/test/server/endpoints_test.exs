defmodule DSPex.EndpointsServerTest do
  @moduledoc "Named language models behind HTTP: the real server, and `dspex sim-lm` as the provider."
  use ExUnit.Case, async: false

  alias DSPex.{Error, Prediction}

  @moduletag :server
  @moduletag :capture_log
  @moduletag timeout: 120_000

  @question {{:predict, "question -> answer"}, %{question: "Wet?"}}

  test "a 429 with Retry-After is waited for, and a second one is told" do
    base = sim_lm("429:0.1,ok,429:3,429:3")
    at = fn retries -> %{model: "openai/own", api_base: base, num_retries: retries} end
    {program, inputs} = @question

    start_supervised!(
      {DSPex,
       name: __MODULE__,
       command: OptionParser.split(System.fetch_env!("DSPEX_COMMAND")),
       args: ["--workers", "1", "--log-level", "error"],
       env: %{"DSPEX_STORE" => "memory"},
       lms: %{patient: at.(2), hasty: at.(0)},
       timeout: 60_000}
    )

    assert {:ok, %Prediction{} = prediction} = DSPex.predict(__MODULE__, program, inputs, lm: "patient")

    assert prediction[:answer] =~ "sim: "

    assert {:error, %Error{type: :lm_rate_limited, retry_after_ms: 3000, retryable?: true}} =
             DSPex.predict(__MODULE__, program, inputs, lm: "hasty")
  end

  # It ends with its stdin, which is this port's.
  defp sim_lm(faults) do
    [dspex | _serve] = OptionParser.split(System.fetch_env!("DSPEX_COMMAND"))
    arguments = ["sim-lm", "--until-eof", "--faults", faults]

    port =
      Port.open({:spawn_executable, System.find_executable(dspex)}, [
        :binary,
        {:line, 1024},
        args: arguments
      ])

    assert_receive {^port, {:data, {:eol, line}}}, 60_000
    [[base]] = Regex.scan(~r/http:[^"]+/, line)
    base
  end
end
