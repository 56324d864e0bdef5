defmodule DSPex.PortTest do
  @moduledoc "A real port with a scripted server behind it: pipes, exits, and text on the wire."
  use ExUnit.Case, async: true

  import DSPex.Instances

  @moduletag :capture_log

  test "values go there and back", %{test: name} do
    faked(name, "echo")
    value = %{"text" => String.duplicate("ü", 100_000), "list" => Enum.to_list(1..1_000)}
    assert DSPex.echo(name, value) == {:ok, value}
  end

  test "500 calls at once get their own answers", %{test: name} do
    faked(name, "echo")

    tasks =
      for number <- 1..500,
          do: Task.async(fn -> DSPex.echo!(name, %{"n" => number, "pad" => :binary.copy("x", 2_000)}) end)

    assert tasks |> Task.await_many() |> Enum.map(& &1["n"]) == Enum.to_list(1..500)
  end

  test "frames larger than all buffers pass in both directions at once", %{test: name} do
    faked(name, "echo")
    big = String.duplicate("x", 6_000_000)
    tasks = for _ <- 1..4, do: Task.async(fn -> DSPex.echo!(name, big) == big end)
    assert Task.await_many(tasks, 30_000) == [true, true, true, true]
  end

  test "a server that dies fails the call, with its status", %{test: name} do
    faked(name, "dies")
    assert {:error, %{type: :connection_lost, message: message}} = DSPex.ping(name)
    assert message =~ ~r/status 3|its pipe/
    # The next attempt finds a new server.
    assert {:error, %{type: :connection_lost}} = DSPex.ping(name)
  end

  test "a server that cannot start leaves calls their own time", %{test: name} do
    faked(name, "exits")
    assert {:error, %{type: :unavailable}} = DSPex.ping(name, nil, timeout: 400)
  end

  test "a server that is mute is found out by silence", %{test: name} do
    faked(name, "mute", probe_after: 20, silence_timeout: 50)
    assert {:error, %{type: :connection_lost}} = DSPex.ping(name, nil, timeout: 10_000)
  end

  test "a server that never answers hello is replaced", %{test: name} do
    faked(name, "silent", handshake_timeout: 50)
    assert {:error, %{type: :unavailable}} = DSPex.ping(name, nil, timeout: 400)
  end

  test "text before the first frame ends in a time-out, not in a hang", %{test: name} do
    faked(name, "garbage", handshake_timeout: 100)
    assert {:error, %{type: :unavailable}} = DSPex.ping(name, nil, timeout: 400)
  end

  test "text between frames is found out by silence", %{test: name} do
    faked(name, "text", probe_after: 20, silence_timeout: 50)
    assert {:error, %{type: :connection_lost}} = DSPex.ping(name, nil, timeout: 10_000)
  end

  test "a server that does not read keeps nobody longer than their time", %{test: name} do
    faked(name, "deaf", silence_timeout: 60_000)
    {:ok, _wire} = DSPex.Connection.wire(name, DSPex.Clock.now_ms() + 30_000)
    big = :binary.copy("x", 9_000_000)
    tasks = for _ <- 1..3, do: Task.async(fn -> DSPex.echo(name, big, timeout: 300) end)
    for outcome <- Task.await_many(tasks), do: assert({:error, %{type: :deadline}} = outcome)
  end

  test "a server that does not read is killed when it is closed, so that the BEAM can halt", %{test: name} do
    faked(name, "deaf", silence_timeout: 60_000)
    {:ok, wire} = DSPex.Connection.wire(name, DSPex.Clock.now_ms() + 30_000)
    {:os_pid, os_pid} = Port.info(wire.handle, :os_pid)
    assert {:error, _} = DSPex.echo(name, :binary.copy("x", 9_000_000), timeout: 50)
    assert DSPex.stop(name, 50) == :ok
    gone(os_pid)
  end

  # An exit is seen a moment after it happens; the test's own time-out bounds the wait.
  defp gone(os_pid), do: if(File.exists?("/proc/#{os_pid}"), do: Process.sleep(5) && gone(os_pid))

  test "callers that write while servers die get an answer or one failure", %{test: name} do
    faked(name, "dies")

    tasks =
      for _ <- 1..50 do
        Task.async(fn -> {DSPex.ping(name, nil, timeout: 10_000), Process.info(self(), :messages)} end)
      end

    for {outcome, messages} <- Task.await_many(tasks, 30_000) do
      assert {:error, %{type: :connection_lost}} = outcome
      assert messages == {:messages, []}
    end

    # Only the counter, the wire and the time-out are left.
    assert :ets.info(Module.concat(name, "OpenCalls"), :size) == 3
  end

  test "stopping leaves no process behind", %{test: name} do
    faked(name, "echo")
    assert DSPex.ping(name, 1) == {:ok, 1}
    {:ok, wire} = DSPex.OpenCalls.wire(name)
    {:os_pid, os_pid} = Port.info(wire.handle, :os_pid)
    assert DSPex.stop(name) == :ok
    refute File.exists?("/proc/#{os_pid}")
  end
end
