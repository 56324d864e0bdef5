defmodule DSPex.SharedTest do
  @moduledoc "One real server on a Unix socket for several nodes: each has its own calls, and nobody another's end."
  use ExUnit.Case, async: false

  import DSPex.Instances, only: [peer: 1]

  alias DSPex.Error

  @moduletag :server
  @moduletag :capture_log
  @moduletag timeout: 120_000

  @program {"Predict", "question -> answer"}
  @lms %{
    default: "sim/default",
    slow: %{model: "sim/slow", options: %{latency_ms: 20_000}},
    steady: %{model: "sim/steady", options: %{latency_ms: 50}}
  }

  # An instance starts the server and owns it; others join it.
  setup_all do
    path = Path.join(System.tmp_dir!(), "dspex-shared-#{System.pid()}.sock")
    owner = __MODULE__.Owner
    command = OptionParser.split(System.fetch_env!("DSPEX_COMMAND"))
    arguments = ["--listen", "stdio,unix:" <> path, "--log-level", "error"]
    start_supervised!({DSPex, name: owner, command: command, args: arguments, lms: @lms, backoff: {1, 20}})
    DSPex.echo!(owner, nil)
    %{owner: owner, path: path}
  end

  setup %{test: test, path: path} do
    guest = Module.concat(__MODULE__, test)
    %{guest: guest, join: fn options -> join(guest, path, options) end}
  end

  defp join(name, path, options) do
    defaults = [name: name, address: "unix:" <> path, lms: @lms, backoff: {1, 20}]
    start_supervised!({DSPex, Keyword.merge(defaults, options)})
    name
  end

  test "models are the pool's, functions are those of the instance that calls", context do
    context.join.(lms: %{theirs: "host/model"}, functions: %{"model" => &model/1})
    assert DSPex.predict!(context.guest, @program, %{question: "?"}, lm: "theirs").answer == "from the guest"

    assert {:error, %Error{type: type}} =
             DSPex.predict(context.owner, @program, %{question: "?"}, lm: "theirs")

    assert type == :unknown_function
    assert DSPex.info!(context.owner)["instance"] == DSPex.info!(context.guest)["instance"]
  end

  defp model(_args), do: "[[ ## answer ## ]]\nfrom the guest\n\n[[ ## completed ## ]]"

  test "a model that another instance has named otherwise is refused by name", context do
    context.join.(lms: %{default: "sim/other"})
    assert {:error, %Error{type: :invalid_argument, message: message}} = DSPex.ping(context.guest)
    assert message =~ "lms.default"
  end

  test "200 predictions at once from each of two instances are all answered", context do
    context.join.([])

    ask = fn number ->
      name = if rem(number, 2) == 0, do: context.owner, else: context.guest
      DSPex.predict!(name, @program, %{question: "#{number}"}).answer
    end

    answers = 1..400 |> Task.async_stream(ask, max_concurrency: 400, timeout: 60_000) |> Enum.to_list()
    assert Enum.count(answers, &match?({:ok, answer} when is_binary(answer), &1)) == 400
  end

  test "a node that is killed takes only its own calls with it", context do
    context.join.([])
    node = peer({context.path, @lms})
    for _ <- 1..5, do: node.({:open, @program, %{question: "?"}, lm: "slow"})
    tasks = for number <- 1..100, do: Task.async(fn -> steady(context.guest, number) end)
    wait_until(fn -> running(context.owner) >= 5 end)
    node.(:kill)
    assert Enum.count(Task.await_many(tasks, 60_000), &match?({:ok, _}, &1)) == 100
    wait_until(fn -> running(context.owner) == 0 end)
  end

  defp steady(name, number), do: DSPex.predict(name, @program, %{question: "#{number}"}, lm: "steady")

  # As the workers count them.
  defp running(name),
    do: name |> DSPex.info!() |> Map.fetch!("workers") |> Enum.map(&(&1["calls"] || 0)) |> Enum.sum()

  test "an instance that stops leaves the server to the others", context do
    context.join.([])
    assert DSPex.ping(context.guest, 1) == {:ok, 1}
    assert DSPex.stop(context.guest) == :ok
    assert DSPex.echo(context.owner, 2) == {:ok, 2}
  end

  test "a server that is killed fails each open call once; its successor at the path serves on", context do
    context.join.([])
    {:ok, call} = DSPex.async(context.guest, @program, %{question: "?"}, lm: "slow")
    {:ok, wire} = DSPex.OpenCalls.wire(context.owner)
    {:os_pid, os_pid} = Port.info(wire.handle, :os_pid)
    {_, 0} = System.cmd("kill", ["-KILL", "#{os_pid}"])
    assert {:error, %Error{type: :connection_lost, maybe_executed?: true}} = DSPex.await(call)
    # Another one is started by its owner, and the guest finds it.
    assert {:ok, %{answer: _}} = DSPex.predict(context.guest, @program, %{question: "?"}, timeout: 60_000)
  end

  defp wait_until(condition, tries \\ 1_000) do
    cond do
      condition.() -> :ok
      tries == 0 -> flunk("it did not come to pass in 10 s")
      true -> Process.sleep(10) && wait_until(condition, tries - 1)
    end
  end
end
