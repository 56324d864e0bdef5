defmodule DSPex.SocketTest do
  @moduledoc "A real Unix socket with a scripted server behind it: one server for several instances."
  use ExUnit.Case, async: true

  import DSPex.Instances

  alias DSPex.Transport.Socket

  @moduletag :capture_log

  # The path is short, as that of a Unix socket must be.
  setup %{test: test} do
    path = Path.join(System.tmp_dir!(), "dspex-#{System.unique_integer([:positive])}-#{System.pid()}.sock")
    on_exit(fn -> File.rm(path) end)
    # Other files have tests of the same name.
    %{path: path, name: Module.concat(__MODULE__, test)}
  end

  defp wire(name) do
    {:ok, wire} = DSPex.Connection.wire(name, DSPex.Clock.now_ms() + 30_000)
    wire
  end

  test "values go there and back, and nothing is started", %{name: name, path: path} do
    listening(path, "echo")
    connected(name, path)
    value = %{"text" => String.duplicate("ü", 100_000), "list" => Enum.to_list(1..1_000)}
    assert DSPex.echo(name, value) == {:ok, value}
    assert {:name, 'tcp_inet'} == Port.info(wire(name).handle, :name)
  end

  test "500 calls at once get their own answers", %{name: name, path: path} do
    listening(path, "echo")
    connected(name, path)

    tasks =
      for number <- 1..500,
          do: Task.async(fn -> DSPex.echo!(name, %{"n" => number, "pad" => :binary.copy("x", 2_000)}) end)

    assert tasks |> Task.await_many() |> Enum.map(& &1["n"]) == Enum.to_list(1..500)
  end

  test "frames larger than all buffers pass in both directions at once", %{name: name, path: path} do
    listening(path, "echo")
    connected(name, path)
    big = String.duplicate("x", 6_000_000)
    tasks = for _ <- 1..4, do: Task.async(fn -> DSPex.echo!(name, big) == big end)
    assert Task.await_many(tasks, 30_000) == [true, true, true, true]
  end

  test "more frames at once than the owner asks for are all read", %{name: name, path: path} do
    listening(path, "flood")
    connected(name, path)
    assert DSPex.ping(name, "behind 1,000 notes") == {:ok, "behind 1,000 notes"}
  end

  test "each instance has a connection of its own; one that stops leaves the others", %{
    test: name,
    path: path
  } do
    listening(path, "echo")
    leaving = connected(Module.concat(name, "Leaving"), path)
    staying = connected(Module.concat(name, "Staying"), path)
    assert {DSPex.echo(leaving, 1), DSPex.echo(staying, 2)} == {{:ok, 1}, {:ok, 2}}
    generation = wire(staying).generation
    assert DSPex.stop(leaving) == :ok
    assert DSPex.echo(staying, 3) == {:ok, 3}
    assert wire(staying).generation == generation
  end

  test "calls wait for a server that is not there yet", %{name: name, path: path} do
    connected(name, path)
    task = Task.async(fn -> DSPex.echo(name, "early") end)
    assert {:error, %{type: :unavailable, message: message}} = DSPex.ping(name, nil, timeout: 1_000)
    assert message =~ path
    listening(path, "echo")
    assert Task.await(task) == {:ok, "early"}
  end

  test "a server that goes away fails open calls once, and its successor answers", %{name: name, path: path} do
    server = listening(path, "mute")
    connected(name, path)
    tasks = for _ <- 1..20, do: Task.async(fn -> {DSPex.ping(name), Process.info(self(), :messages)} end)
    # All are open when they count.
    open(name, 20)
    quit(server, path)

    for outcome <- Task.await_many(tasks),
        do: assert({{:error, %{type: :connection_lost, maybe_executed?: true}}, {:messages, []}} = outcome)

    listening(path, "echo")
    assert DSPex.echo(name, "again") == {:ok, "again"}
  end

  defp open(name, count) do
    if length(DSPex.OpenCalls.ids(name)) < count, do: Process.sleep(1) && open(name, count)
  end

  test "a server that closes the connection fails the call", %{name: name, path: path} do
    listening(path, "dies")
    connected(name, path)
    assert {:error, %{type: :connection_lost, message: message}} = DSPex.ping(name)
    assert message =~ "closed the connection"
    assert {:error, %{type: :connection_lost}} = DSPex.ping(name)
  end

  test "callers that write while connections close get an answer or one failure", %{name: name, path: path} do
    listening(path, "dies")
    connected(name, path)

    tasks =
      for _ <- 1..50 do
        Task.async(fn -> {DSPex.ping(name, nil, timeout: 10_000), Process.info(self(), :messages)} end)
      end

    for outcome <- Task.await_many(tasks, 30_000),
        do: assert({{:error, %{type: :connection_lost}}, {:messages, []}} = outcome)

    assert :ets.info(Module.concat(name, "OpenCalls"), :size) == 3
  end

  test "a server that says that it leaves gets no new calls", %{name: name, path: path} do
    server = listening(path, "drains")
    connected(name, path)
    generation = wire(name).generation
    # Only now: a server that left at once might be gone before its wire was looked at.
    assert DSPex.ping(name, "leave") == {:ok, "leave"}
    leaving(name)
    task = Task.async(fn -> DSPex.echo(name, "for the next") end)
    assert {:error, %{type: :unavailable, message: message}} = DSPex.ping(name, nil, timeout: 300)
    assert message =~ "told to end"
    quit(server, path)
    listening(path, "echo")
    assert Task.await(task) == {:ok, "for the next"}
    refute wire(name).generation == generation
  end

  defp leaving(name) do
    if match?({:ok, _}, DSPex.OpenCalls.wire(name)), do: Process.sleep(1) && leaving(name)
  end

  test "text on the wire is found out by its length", %{name: name, path: path} do
    listening(path, "text")
    connected(name, path)
    assert {:error, %{type: :connection_lost, message: message}} = DSPex.ping(name, nil, timeout: 10_000)
    assert message =~ "no frame"
  end

  test "a server that does not read keeps nobody longer than their time", %{name: name, path: path} do
    listening(path, "deaf")
    connected(name, path, silence_timeout: 60_000)
    wire(name)
    big = :binary.copy("x", 9_000_000)
    tasks = for _ <- 1..3, do: Task.async(fn -> DSPex.echo(name, big, timeout: 300) end)
    for outcome <- Task.await_many(tasks), do: assert({:error, %{type: :deadline}} = outcome)
    # The connection process itself has never waited for the socket.
    assert {:open, _data} = :sys.get_state(Module.concat(name, "Connection"), 1_000)
    assert DSPex.stop(name, 50) == :ok
  end

  test "what waits for a server that does not read is bounded", %{path: path} do
    # Nobody accepts, so nobody reads, not even a first frame.
    {:ok, listener} = :gen_tcp.listen(0, ifaddr: {:local, path})
    {:ok, options} = DSPex.Options.instance(name: X, address: "unix:" <> path)
    {:ok, socket} = Socket.open(options)
    megabyte = :binary.copy("x", 1_048_576)
    outcomes = for _ <- 1..16, do: Socket.send(socket, megabyte)
    assert Enum.uniq(outcomes) == [:ok, :busy]
    assert Enum.count(outcomes, &(&1 == :ok)) in 8..10
    assert Socket.close(socket) == :ok
    assert Socket.send(socket, megabyte) == :closed
    :gen_tcp.close(listener)
  end

  test "a path where no socket can be is told at once", %{name: name, path: path} do
    connected(name, Path.join(__ENV__.file, Path.basename(path)))
    assert {:error, %{type: :unavailable, message: message}} = DSPex.ping(name, nil, timeout: 5_000)
    assert message =~ "enotdir"
  end
end
