defmodule DSPex.PoolTest do
  @moduledoc "What an operator asks of a pool: the frames that go out, and what comes of the answers."
  use ExUnit.Case, async: true

  import DSPex.Instances

  alias DSPex.{Error, Test}

  @moduletag :capture_log

  # A server that answers each method with the value given for it and tells what it was asked.
  defp answering(name, answers) do
    me = self()

    handled(name, fn method, payload, _meta ->
      send(me, {:asked, method, payload})
      {:reply, Map.fetch!(answers, method)}
    end)
  end

  test "recycling one worker or all tells which will be replaced", %{test: name} do
    answering(name, %{"pool.recycle" => %{"workers" => [3, 4]}})
    assert DSPex.recycle(name, :all) == {:ok, [3, 4]}
    assert_received {:asked, "pool.recycle", %{"worker" => nil}}
    assert DSPex.recycle!(name, 3) == [3, 4]
    assert_received {:asked, "pool.recycle", %{"worker" => 3}}
  end

  test "draining is answered when the last call has ended; the next call is for the next server", %{
    test: name
  } do
    controlled(name)
    draining = Task.async(fn -> {DSPex.drain(name), DSPex.echo(name, 1)} end)
    {server, %{method: "pool.drain", id: id}, %{}} = receive_frame(:call)
    Test.send_frame(server, :reply, id, nil, %{}, nil)
    # Nothing more goes to this one, which ends in its own time.
    refute_receive {Test, ^server, _, _}, 20
    Test.exit(server, "exited with status 0")
    {server, %{method: "system.echo", id: id}, 1} = receive_frame(:call)
    Test.send_frame(server, :reply, id, nil, %{}, "by the next")
    assert Task.await(draining) == {:ok, {:ok, "by the next"}}
  end

  test "what is quarantined is listed and released", %{test: name} do
    repro = %{"fingerprint" => "f00", "method" => "program.predict"}
    answering(name, %{"pool.quarantine" => [repro], "pool.release" => %{"released" => 1}})
    assert {DSPex.quarantine(name), DSPex.quarantine!(name)} == {{:ok, [repro]}, [repro]}
    assert DSPex.release(name, "f00") == {:ok, 1}
    assert_received {:asked, "pool.release", %{"fingerprint" => "f00"}}
    assert DSPex.release!(name, :all) == 1
    assert_received {:asked, "pool.release", %{"fingerprint" => nil}}
  end

  test "what the server refuses is an error, or raised", %{test: name} do
    error = Error.new(:invalid_argument, "worker: expected the number of a worker, got 9")
    handled(name, fn _, _, _ -> {:fail, error} end)
    assert DSPex.recycle(name, 9) == {:error, error}
    assert DSPex.drain(name) == {:error, error}
    for ask <- [&DSPex.drain!/1, &DSPex.quarantine!/1], do: assert_raise(Error, fn -> ask.(name) end)
    for ask <- [&DSPex.recycle!/2, &DSPex.release!/2], do: assert_raise(Error, fn -> ask.(name, :all) end)
  end

  test "mistakes are told by field, without asking the server", %{test: name} do
    answering(name, %{})

    for bad <- [0, -1, "3", nil, :some],
        do: assert({:error, %{details: %{"field" => "worker"}}} = DSPex.recycle(name, bad))

    assert {:error, %{details: %{"field" => "fingerprint"}}} = DSPex.release(name, 3)
    assert {:error, %{details: %{"field" => "lane"}}} = DSPex.echo(name, 1, lane: :fast)
    assert {:error, %{details: %{"field" => "colour"}}} = DSPex.drain(name, colour: 1)
    refute_received {:asked, _, _}
  end

  test "what overloads and poisons says when and whether to come back", %{test: name} do
    handled(name, fn
      "system.echo", "busy", _ -> {:fail, Error.new(:overloaded, "the queue is full", retry_after_ms: 70)}
      "system.echo", "bad", _ -> {:fail, Error.new(:poisoned, "it killed two workers")}
    end)

    assert {:error, %{type: :overloaded, retryable?: true, retry_after_ms: 70}} = DSPex.echo(name, "busy")
    assert {:error, %{type: :poisoned, retryable?: false}} = DSPex.echo(name, "bad")
  end
end
