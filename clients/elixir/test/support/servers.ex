defmodule DSPex.Servers do
  @moduledoc "Real servers for tests of stored programs and sessions: a store of their own, and a model that tells what it was told."

  import ExUnit.Callbacks, only: [start_supervised!: 1]

  @doc """
  An instance whose server keeps its programs at that address of a store.

  Its default model is `remembering/1`.
  """
  def stored(name, store, arguments \\ []) do
    start_supervised!({DSPex, options(name, store, arguments)})
    DSPex.echo!(name, nil, timeout: 60_000)
    name
  end

  @doc "The options of such an instance."
  def options(name, store, arguments) do
    [
      name: name,
      command: OptionParser.split(System.fetch_env!("DSPEX_COMMAND")),
      args: ["--workers", "2", "--log-level", "error"] ++ arguments,
      env: %{"DSPEX_STORE" => store},
      lms: %{
        default: "host/remembering",
        steady: %{model: "sim/steady", options: %{latency_ms: 200}},
        # Seconds for an answer.
        streaming: %{model: "sim/streaming", options: %{tokens_per_s: 4}}
      },
      functions: %{"remembering" => &remembering/1},
      backoff: {1, 20},
      timeout: 60_000
    ]
  end

  @doc """
  A language model: its answer is what the messages before said, question by question.

  So whatever is lost of a history, or of the demos, is missing in the answer.
  """
  def remembering(%{"messages" => messages}) do
    said = for %{"role" => "user", "content" => text} <- messages, do: question(text)

    %{
      text: "[[ ## answer ## ]]\n#{Enum.join(said, " ")}\n\n[[ ## completed ## ]]",
      tokens_in: 1,
      tokens_out: 1
    }
  end

  defp question(text) do
    case Regex.run(~r/## question ## \]\]\n(.*)/, text) do
      [_all, question] -> String.trim(question)
      nil -> "?"
    end
  end

  @doc "The processes of all workers of an instance's server."
  def worker_pids(name), do: for(%{"pid" => pid} <- DSPex.info!(name)["workers"], do: pid)

  @doc "Kills the server of an instance, without a word to it; returns when there is another."
  def kill_server(name) do
    wire = wire(name)

    case Port.info(wire.handle, :os_pid) do
      {:os_pid, os_pid} ->
        kill(os_pid)
        wait_for(fn -> wire(name).generation != wire.generation end)

      # It went by itself at this moment.
      nil ->
        kill_server(name)
    end
  end

  defp wire(name) do
    {:ok, wire} = DSPex.Connection.wire(name, DSPex.Clock.now_ms() + 30_000)
    wire
  end

  @doc "SIGKILL; one that has gone already is as good."
  def kill(os_pid), do: System.cmd("kill", ["-KILL", "#{os_pid}"], stderr_to_stdout: true)

  @doc "What is given, as soon as it is something."
  def wait_for(ask, tries \\ 1_500) do
    cond do
      something = ask.() -> something
      tries == 0 -> raise "it did not come to pass in 15 s"
      true -> Process.sleep(10) && wait_for(ask, tries - 1)
    end
  end

  @doc "The outcome of a call that is made again while it may succeed later, as its error says."
  def patient(call) do
    case call.() do
      {:error, %DSPex.Error{retryable?: true, maybe_executed?: false} = error} ->
        Process.sleep(error.retry_after_ms || 50)
        patient(call)

      outcome ->
        outcome
    end
  end
end
