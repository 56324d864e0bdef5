defmodule DSPex.KillTest do
  @moduledoc """
  The server is killed over and over with calls pending: each call has one outcome, and nothing is left over.

  `DSPEX_KILLS` says how often, 8 times unless told otherwise.
  """
  use ExUnit.Case, async: false

  @moduletag :server
  @moduletag :capture_log
  @moduletag timeout: 600_000

  @kills String.to_integer(System.get_env("DSPEX_KILLS", "8"))
  @callers 16

  test "calls are answered or fail once, the next server takes over, and nothing leaks" do
    name = __MODULE__.DSPex
    command = OptionParser.split(System.fetch_env!("DSPEX_COMMAND"))
    lms = %{default: %{model: "sim/default", options: %{latency_ms: 20}}}
    start_supervised!({DSPex, name: name, command: command, lms: lms, backoff: {1, 10}, timeout: 60_000})
    DSPex.echo!(name, 1)
    before = left_over(name)
    stop = :atomics.new(1, [])
    callers = for _ <- 1..@callers, do: Task.async(fn -> call_until(name, stop, %{}) end)
    pids = for _ <- 1..@kills, do: kill(name)
    :atomics.put(stop, 1, 1)

    for {outcomes, strays} <- Task.await_many(callers, 120_000) do
      assert strays == []
      assert Map.keys(outcomes) -- [:ok, :connection_lost] == []
      assert outcomes[:connection_lost] > 0 and outcomes[:ok] > 0
    end

    assert DSPex.echo(name, 1) == {:ok, 1}
    assert length(Enum.uniq(pids)) == @kills
    assert left_over(name) == before
    for pid <- pids, do: refute(File.exists?("/proc/#{pid}"))
  end

  # How often each outcome came, and what was in the mailbox at the end.
  defp call_until(name, stop, outcomes) do
    outcome =
      case DSPex.predict(name, {"Predict", "question -> answer"}, question: "?") do
        {:ok, _} -> :ok
        {:error, error} -> error.type
      end

    outcomes = Map.update(outcomes, outcome, 1, &(&1 + 1))
    if :atomics.get(stop, 1) == 0, do: call_until(name, stop, outcomes), else: {outcomes, messages()}
  end

  defp messages, do: self() |> Process.info(:messages) |> elem(1)

  # Answered once, so that it is killed with predictions under way.
  defp kill(name) do
    DSPex.predict(name, {"Predict", "question -> answer"}, question: "?")
    {:ok, wire} = DSPex.Connection.wire(name, DSPex.Clock.now_ms() + 30_000)

    case Port.info(wire.handle, :os_pid) do
      {:os_pid, os_pid} ->
        {_, 0} = System.cmd("kill", ["-KILL", "#{os_pid}"])
        lost(name, wire.generation)
        os_pid

      nil ->
        kill(name)
    end
  end

  defp lost(name, generation) do
    case DSPex.Connection.wire(name, DSPex.Clock.now_ms() + 30_000) do
      {:ok, %{generation: ^generation}} -> Process.sleep(1) && lost(name, generation)
      {:ok, _wire} -> :ok
    end
  end

  # Of the connection: mailbox, monitors, links and rows; and how many ports there are.
  defp left_over(name) do
    connection = Process.whereis(Module.concat(name, "Connection"))
    # All that it was sent before is done with when it answers.
    :sys.get_state(connection)
    info = Process.info(connection, [:message_queue_len, :monitors, :links])

    %{
      mailbox: info[:message_queue_len],
      monitors: length(info[:monitors]),
      links: length(info[:links]),
      rows: :ets.info(Module.concat(name, "OpenCalls"), :size),
      ports: length(Port.list())
    }
  end
end
