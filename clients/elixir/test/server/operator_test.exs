defmodule DSPex.OperatorTest do
  @moduledoc "A real pool whose workers are replaced, quarantined and drained while it works: no call is lost."
  use ExUnit.Case, async: false

  alias DSPex.{Error, TelemetryProbe}

  @moduletag :server
  @moduletag :capture_log
  @moduletag timeout: 120_000

  @program {"Predict", "question -> answer"}
  @lms %{
    default: "sim/default",
    slow: %{model: "sim/slow", options: %{latency_ms: 20_000}},
    pause: %{model: "sim/pause", options: %{latency_ms: 500}},
    steady: %{model: "sim/steady", options: %{latency_ms: 20}}
  }

  # An instance starts the server and owns it; another one joins it.
  setup_all do
    path = Path.join(System.tmp_dir!(), "dspex-operator-#{System.pid()}.sock")
    [owner, guest] = [__MODULE__.Owner, __MODULE__.Guest]
    command = OptionParser.split(System.fetch_env!("DSPEX_COMMAND"))
    arguments = ["--listen", "stdio,unix:" <> path, "--workers", "2", "--log-level", "error"]
    common = [lms: @lms, backoff: {1, 20}, timeout: 60_000]
    tenants = [tenant: "web", tenants: %{"web" => 3, "reports" => 1}, notes: [:event]]
    start_supervised!({DSPex, [name: owner, command: command, args: arguments] ++ tenants ++ common})
    DSPex.echo!(owner, nil)
    start_supervised!({DSPex, [name: guest, address: "unix:" <> path, tenant: "reports"] ++ common})
    DSPex.echo!(guest, nil)
    %{owner: owner, guest: guest}
  end

  test "calls say on whose behalf they are made, and how urgent they are", %{owner: owner, guest: guest} do
    for options <- [[lane: :batch], [lane: :interactive, priority: 9], [tenant: "acme", priority: 0]],
        do: assert({:ok, _} = DSPex.predict(guest, @program, %{question: "?"}, options))

    assert DSPex.echo(owner, 1, lane: :control) == {:ok, 1}

    assert {:error, %Error{type: :invalid_argument, details: %{"field" => "meta.lane"}}} =
             DSPex.predict(owner, @program, %{question: "?"}, lane: :control)
  end

  test "a snapshot tells of clients, lanes and tenants with their weights", %{owner: owner, guest: guest} do
    {:ok, call} = DSPex.async(guest, @program, %{question: "?"}, lm: "slow", lane: :batch)

    info = wait_for(fn -> snapshot_with(owner, "batch", 1) end)
    DSPex.cancel(call)
    weights = Map.new(info["tenants"], &{&1["tenant"], &1["weight"]})
    assert weights["reports"] == 1
    assert Enum.sort(Enum.map(info["clients"], & &1["transport"])) == ["stdio", "unix"]
    assert is_list(info["workers"]) and info["draining"] == false
    assert {:error, _} = DSPex.await(call)
  end

  # Of a moment in which that many calls of a lane are under way.
  defp snapshot_with(name, lane, calls) do
    info = DSPex.info!(name)
    %{"running" => running, "waiting" => waiting} = info["lanes"][lane]
    if running + waiting == calls, do: info
  end

  test "all workers are replaced again and again and no call notices", %{owner: owner, guest: guest} do
    {:ok, _} = TelemetryProbe.attach(owner)
    serving(owner, 2)
    stop = :atomics.new(1, [])

    callers =
      for number <- 1..16,
          do: Task.async(fn -> call_until(Enum.at([owner, guest], rem(number, 2)), stop, []) end)

    replaced = Enum.flat_map(1..4, fn _ -> recycle_all(owner) end)
    :atomics.put(stop, 1, 1)
    outcomes = callers |> Task.await_many(60_000) |> Enum.concat()
    assert Enum.uniq(outcomes) == [:ok]
    assert length(outcomes) > 100
    assert length(Enum.uniq(replaced)) == 8

    for number <- replaced,
        do: assert_received({:event, _, _, %{"event" => "worker_recycled", "worker" => ^number}})
  end

  defp call_until(name, stop, outcomes) do
    outcome =
      case DSPex.predict(name, @program, %{question: "#{length(outcomes)}"}, lm: "steady") do
        {:ok, _prediction} -> :ok
        {:error, error} -> error
      end

    if :atomics.get(stop, 1) == 0,
      do: call_until(name, stop, [outcome | outcomes]),
      else: [outcome | outcomes]
  end

  # The numbers of those that were replaced, once they are gone.
  defp recycle_all(name) do
    replaced = DSPex.recycle!(name, :all)
    wait_for(fn -> for(%{"worker" => number} <- workers(name), number in replaced, do: number) == [] end)
    serving(name, 2)
    replaced
  end

  # Until so many workers take calls, and none of them is about to go.
  defp serving(name, count), do: wait_for(fn -> Enum.count(workers(name), &serves?/1) == count end)

  defp serves?(worker), do: worker["state"] in ["ready", "busy"] and worker["retiring"] == nil

  defp workers(name), do: DSPex.info!(name)["workers"]

  test "one worker is replaced by its number, one that is not there is refused", %{owner: owner} do
    serving(owner, 2)
    %{"worker" => number} = Enum.find(workers(owner), &(&1["state"] == "ready"))
    assert DSPex.recycle(owner, number) == {:ok, [number]}
    assert {:error, %Error{type: :invalid_argument}} = DSPex.recycle(owner, 1_000_000)
  end

  test "a call that workers die of is refused, shown, and let go", %{owner: owner, guest: guest} do
    run = fn -> DSPex.async!(guest, @program, %{question: "secret text"}, lm: "slow") end
    call = run.()
    killer = Task.async(fn -> kill_whoever_runs(owner) end)
    assert {:error, %Error{type: :poisoned, retryable?: false}} = DSPex.await(call)
    Task.shutdown(killer, :brutal_kill)
    assert {:error, %Error{type: :poisoned}} = DSPex.await(run.())
    assert [%{"fingerprint" => fingerprint, "method" => "program.predict"} = repro] = DSPex.quarantine!(owner)
    refute inspect(repro, limit: :infinity) =~ "secret text"
    assert {DSPex.release(owner, fingerprint), DSPex.quarantine(owner)} == {{:ok, 1}, {:ok, []}}
    again = run.()
    DSPex.cancel(again)
    assert {:error, %Error{type: :cancelled}} = DSPex.await(again)
    assert DSPex.release(owner, :all) == {:ok, 0}
  end

  # Again and again: on a busy machine one may be hit before it has begun, which is nobody's fault.
  defp kill_whoever_runs(name) do
    for %{"calls" => 1, "pid" => pid} <- workers(name) do
      # Begun there, not just on its way.
      Process.sleep(20)
      # A crash, as far as the server sees: SIGKILL would be somebody else's doing. It may be gone.
      System.cmd("kill", ["-SEGV", "#{pid}"], stderr_to_stdout: true)
    end

    Process.sleep(5)
    kill_whoever_runs(name)
  end

  test "draining lets open calls of all end; then there is another server", %{owner: owner, guest: guest} do
    instance = DSPex.info!(owner)["instance"]

    tasks =
      for number <- 1..50,
          do: Task.async(fn -> DSPex.predict(owner, @program, %{question: "#{number}"}, lm: "pause") end)

    wait_for(fn -> snapshot_with(owner, "interactive", 50) end)
    assert DSPex.drain(guest) == :ok
    assert Enum.count(Task.await_many(tasks, 60_000), &match?({:ok, _}, &1)) == 50
    # Its owner starts another, and the guest finds it.
    assert {:ok, _} = DSPex.predict(guest, @program, %{question: "?"})
    refute DSPex.info!(guest)["instance"] == instance
  end

  # What it gives once that is something.
  defp wait_for(ask, tries \\ 1_000) do
    cond do
      something = ask.() -> something
      tries == 0 -> flunk("it did not come to pass in 10 s")
      true -> Process.sleep(10) && wait_for(ask, tries - 1)
    end
  end
end
