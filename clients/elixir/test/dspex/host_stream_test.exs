defmodule DSPex.HostStreamTest do
  @moduledoc "Host functions that answer piece by piece: items by credit, or one answer."
  use ExUnit.Case, async: true

  import DSPex.Instances

  alias DSPex.{Error, Test}

  @moduletag :capture_log

  # A server that calls the function `write`, as its call 1; it returns the server.
  defp asking(name, write, credit) do
    controlled(name, functions: %{"write" => fn _args -> write.() end})
    {:ok, _call} = DSPex.async(name, "qa", %{})
    {server, %{id: parent}, _} = receive_frame(:call)
    meta = %{"parent" => parent, "deadline_ms" => 5_000}
    meta = if credit, do: Map.put(meta, "credit", credit), else: meta
    Test.send_frame(server, :call, 1, "function.call", meta, %{"function" => "write", "args" => %{}})
    server
  end

  defp credit(server, count), do: Test.send_frame(server, :credit, 1, nil, %{"n" => count}, nil)

  defp item(seq) do
    {_, %{id: 1, meta: meta}, value} = receive_frame(:item)
    assert meta == %{"seq" => seq}
    value
  end

  defp reply do
    {_, %{id: 1}, value} = receive_frame(:reply)
    value
  end

  defp failure do
    {_, %{id: 1}, payload} = receive_frame(:fail)
    Error.from_wire(payload)
  end

  # Pieces whose making is told to this process.
  defp told(pieces) do
    me = self()
    Stream.map(pieces, fn piece -> send(me, {:made, piece}) && piece end)
  end

  test "pieces are items, and the reply says no more", %{test: name} do
    asking(name, fn -> {:stream, ["for", {:reasoning, "hm"}, "", "ty"]} end, 8)
    assert item(0) == "for"
    assert item(1) == %{"reasoning" => "hm"}
    assert item(2) == "ty"
    assert reply() == nil
  end

  test "what only the end can tell is the reply; nothing behind it is asked for", %{test: name} do
    pieces = told(["x", {:reply, tokens_in: 3, tool_calls: [%{name: "f", args: %{}}]}, "y"])
    asking(name, fn -> {:stream, pieces} end, 8)
    assert item(0) == "x"
    assert reply() == %{"tokens_in" => 3, "tool_calls" => [%{"name" => "f", "args" => %{}}]}
    refute_received {:made, "y"}
  end

  test "no item goes beyond the credit, and no more than one piece is made beyond it", %{test: name} do
    pieces = told(~w(a b c d e))
    server = asking(name, fn -> {:stream, pieces} end, 1)
    assert item(0) == "a"
    assert_receive {:made, "b"}
    for malformed <- [0, -1, "many", nil], do: credit(server, malformed)
    refute_receive {Test, _, %{kind: :item}, _}, 50
    refute_received {:made, "c"}
    credit(server, 2)
    assert [item(1), item(2)] == ["b", "c"]
    credit(server, 1)
    assert item(3) == "d"
    refute_receive {Test, _, %{kind: :item}, _}, 50
  end

  test "pieces that take every message of their process do not lose credit", %{test: name} do
    greedy =
      Stream.map(1..200, fn number ->
        receive do
          _anything -> :taken
        after
          1 -> :nothing
        end

        "#{number} "
      end)

    server = asking(name, fn -> {:stream, greedy} end, 2)

    for seq <- 0..199 do
      assert item(seq) == "#{seq + 1} "
      credit(server, 1)
    end

    assert reply() == nil
  end

  test "without credit the pieces are joined", %{test: name} do
    asking(name, fn -> {:stream, ["for", "ty"]} end, nil)
    assert reply() == "forty"
  end

  test "without credit, with reasoning and tokens, they are one map", %{test: name} do
    pieces = [{:reasoning, "h"}, {:reasoning, "m"}, "x", {:reply, %{"tokens_out" => 1}}]
    asking(name, fn -> {:stream, pieces} end, nil)
    assert reply() == %{"text" => "x", "reasoning" => "hm", "tokens_out" => 1}
  end

  test "no piece is an empty text", %{test: name} do
    asking(name, fn -> {:stream, []} end, 8)
    assert reply() == ""
  end

  test "a long piece is several items, cut between characters", %{test: name} do
    text = "a" <> String.duplicate("🦀", 40_000)
    asking(name, fn -> {:stream, [text]} end, 8)
    parts = for seq <- 0..2, do: item(seq)
    assert Enum.join(parts) == text
    assert Enum.all?(parts, &(String.valid?(&1) and byte_size(&1) <= 60_000))
    assert reply() == nil
  end

  for {name, piece} <- [number: 7, nothing: nil, map: %{"text" => "x"}, half: <<0xF0, 0x9F>>] do
    test "a piece that is none fails the call: #{name}", %{test: test} do
      piece = unquote(Macro.escape(piece))
      asking(test, fn -> {:stream, ["x", piece, "y"]} end, 8)
      assert item(0) == "x"
      assert %Error{type: :function_failed, message: message} = failure()
      assert message =~ "a piece of an answer is text"
    end
  end

  test "pieces that raise fail the call after those that came", %{test: name} do
    pieces = Stream.map(1..3, fn n -> if n == 3, do: raise(ArgumentError, "gone"), else: "#{n}" end)
    asking(name, fn -> {:stream, pieces} end, 8)
    assert [item(0), item(1)] == ["1", "2"]
    assert %Error{type: :function_failed, details: %{"class" => "ArgumentError"}} = failure()
  end

  test "what is no enumerable fails the call", %{test: name} do
    asking(name, fn -> {:stream, 7} end, 8)
    assert %Error{type: :function_failed, details: %{"class" => "Protocol.UndefinedError"}} = failure()
  end

  test "a cancelled function is killed, also while it waits for credit", %{test: name} do
    me = self()
    server = asking(name, fn -> send(me, {:writes, self()}) && {:stream, ~w(a b c)} end, 1)
    assert_receive {:writes, pid}
    monitor = Process.monitor(pid)
    assert item(0) == "a"
    Test.send_frame(server, :cancel, 1, nil, %{}, nil)
    assert_receive {:DOWN, ^monitor, :process, ^pid, :killed}
    assert %Error{type: :cancelled} = failure()
    credit(server, 5)
    refute_receive {Test, _, %{kind: :item}, _}, 50
  end

  test "a function of a lost connection is killed", %{test: name} do
    me = self()
    server = asking(name, fn -> send(me, {:writes, self()}) && {:stream, ~w(a b c)} end, 1)
    assert_receive {:writes, pid}
    monitor = Process.monitor(pid)
    assert item(0) == "a"
    Test.exit(server)
    assert_receive {:DOWN, ^monitor, :process, ^pid, :killed}
  end
end
