defmodule DSPex.FunctionTest do
  @moduledoc "Host functions: the server calls, Elixir answers."
  use ExUnit.Case, async: true

  import DSPex.Instances

  alias DSPex.{Callback, Error, Test}

  @moduletag :capture_log

  def twice(%{"n" => n}), do: 2 * n

  # A server with these functions, and a call of the client's that is open.
  defp offering(name, functions) do
    controlled(name, functions: functions)
    {:ok, _call} = DSPex.async(name, "qa", %{})
    {server, %{id: parent}, _} = receive_frame(:call)
    {server, parent}
  end

  defp call({server, parent}, id, function, args) do
    meta = %{"parent" => parent, "deadline_ms" => 5_000}
    Test.send_frame(server, :call, id, "function.call", meta, %{"function" => function, "args" => args})
  end

  defp failure(id) do
    {_, %{id: ^id}, payload} = receive_frame(:fail)
    Error.from_wire(payload)
  end

  test "a function's value is the reply", %{test: name} do
    there = offering(name, %{"add" => fn %{"a" => a, "b" => b} -> a + b end, "twice" => {__MODULE__, :twice}})
    call(there, 1, "add", %{"a" => 1, "b" => 2})
    assert {_, %{id: 1}, 3} = receive_frame(:reply)
    call(there, 2, "twice", %{"n" => 21})
    assert {_, %{id: 2}, 42} = receive_frame(:reply)
  end

  test "ok and error tuples are understood", %{test: name} do
    there =
      offering(name, %{"f" => fn %{"ok" => ok} -> if(ok, do: {:ok, 1}, else: {:error, "no such city"}) end})

    call(there, 1, "f", %{"ok" => true})
    assert {_, _, 1} = receive_frame(:reply)
    call(there, 2, "f", %{"ok" => false})
    assert %Error{type: :function_failed, message: "no such city"} = failure(2)
  end

  test "raise, throw, exit and a value without form are failures with their class", %{test: name} do
    functions = %{
      "raise" => fn _ -> raise ArgumentError, "bad city" end,
      "throw" => fn _ -> throw(:ball) end,
      "exit" => fn _ -> exit(:gone) end,
      "pid" => fn _ -> self() end
    }

    there = offering(name, functions)
    call(there, 1, "raise", %{})

    assert %Error{type: :function_failed, details: %{"class" => "ArgumentError"}, message: message} =
             failure(1)

    assert message =~ "bad city"
    call(there, 2, "throw", %{})
    assert failure(2).type == :function_failed
    call(there, 3, "exit", %{})
    assert failure(3).type == :function_failed
    call(there, 4, "pid", %{})
    assert failure(4).type == :value_unencodable
  end

  test "unknown functions, methods and malformed requests are told apart", %{test: name} do
    {server, parent} = there = offering(name, %{})
    call(there, 1, "nowhere", %{})
    assert %Error{type: :unknown_function} = failure(1)
    Test.send_frame(server, :call, 2, "system.info", %{"parent" => parent}, %{})
    assert %Error{type: :unknown_method} = failure(2)
    Test.send_frame(server, :call, 3, "function.call", %{"parent" => parent}, %{"function" => 1})
    assert %Error{type: :invalid_argument} = failure(3)
  end

  test "the server may cancel a function", %{test: name} do
    me = self()

    there =
      offering(name, %{
        "wait" => fn _ ->
          send(me, {:running, self()})
          Process.sleep(:infinity)
        end
      })

    call(there, 1, "wait", %{})
    assert_receive {:running, pid}
    monitor = Process.monitor(pid)
    Test.send_frame(elem(there, 0), :cancel, 1, nil, %{}, nil)
    assert_receive {:DOWN, ^monitor, :process, ^pid, :killed}
    assert %Error{type: :cancelled} = failure(1)
  end

  test "a cancel that comes after the answer adds no second outcome", %{test: name} do
    {server, _} = there = offering(name, %{"quick" => fn _ -> 1 end})

    for id <- 1..100 do
      call(there, id, "quick", %{})
      Test.send_frame(server, :cancel, id, nil, %{}, nil)
    end

    # Each was answered or cancelled, none both.
    ended = for _ <- 1..100, do: ended()
    assert Enum.sort(ended) == Enum.to_list(1..100)
    call(there, 101, "quick", %{})
    assert {_, %{id: 101}, 1} = receive_frame(:reply)
    refute_received {Test, _, %{kind: :reply}, _}
    refute_received {Test, _, %{kind: :fail}, _}
  end

  defp ended do
    assert_receive {Test, _, %{kind: kind, id: id}, _} when kind in [:reply, :fail]
    id
  end

  test "a process that is killed fails its call", %{test: name} do
    there = offering(name, %{"die" => fn _ -> Process.exit(self(), :boom) end})
    call(there, 1, "die", %{})
    assert %Error{type: :function_failed} = failure(1)
  end

  test "slow functions do not hold up others", %{test: name} do
    me = self()
    wait = fn _ -> send(me, {:running, self()}) && receive(do: (:go -> "slow")) end
    there = offering(name, %{"wait" => wait, "quick" => fn _ -> "quick" end})
    call(there, 1, "wait", %{})
    assert_receive {:running, pid}
    call(there, 2, "quick", %{})
    assert {_, %{id: 2}, "quick"} = receive_frame(:reply)
    send(pid, :go)
    assert {_, %{id: 1}, "slow"} = receive_frame(:reply)
  end

  test "calls made within a function name it as their parent", %{test: name} do
    there =
      offering(name, %{
        "nested" => fn _args, %Callback{} = callback ->
          inside = DSPex.ping!(name, "inside")
          outside = Task.await(Task.async(fn -> DSPex.ping!(name, "outside", parent: callback) end))
          [inside, outside, callback.function, Callback.remaining_ms(callback) <= 5_000]
        end
      })

    call(there, 9, "nested", %{})

    for text <- ["inside", "outside"] do
      {server, %{id: id, meta: %{"parent" => 9, "deadline_ms" => left}}, ^text} = receive_frame(:call)
      assert left <= 5_000
      Test.send_frame(server, :reply, id, nil, %{}, text)
    end

    assert {_, %{id: 9}, ["inside", "outside", "nested", true]} = receive_frame(:reply)
  end

  test "an id that is open already is a fault and the first goes on", %{test: name} do
    me = self()

    there =
      offering(name, %{"wait" => fn _ -> send(me, {:running, self()}) && receive(do: (:go -> "first")) end})

    call(there, 1, "wait", %{})
    assert_receive {:running, pid}
    call(there, 1, "wait", %{})
    assert {_, %{method: "system.fault"}, %{"code" => "call_id_reused"}} = receive_frame(:note)
    send(pid, :go)
    assert {_, %{id: 1}, "first"} = receive_frame(:reply)
  end

  test "a lost server stops what it had called", %{test: name} do
    me = self()
    there = offering(name, %{"wait" => fn _ -> send(me, {:running, self()}) && Process.sleep(:infinity) end})
    call(there, 1, "wait", %{})
    assert_receive {:running, pid}
    monitor = Process.monitor(pid)
    Test.exit(elem(there, 0))
    assert_receive {:DOWN, ^monitor, :process, ^pid, :killed}
  end
end
