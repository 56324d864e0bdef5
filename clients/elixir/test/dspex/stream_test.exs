defmodule DSPex.StreamTest do
  @moduledoc "Streams: lazy, in order, bounded by credit, cancelled when halted."
  use ExUnit.Case, async: true

  import DSPex.Instances

  alias DSPex.{Error, PartialValue, Prediction, Status, Streaming, Tagged, Test, Token, ToolEvent}

  @moduletag :capture_log

  defp words(count), do: for(number <- 1..count, do: "word#{number} ")

  defp streaming(name, count) do
    handled(name, fn "program.predict", _payload, _meta -> {:stream, words(count), %{"answer" => "all"}} end)
  end

  test "elements come in order and the prediction is the last", %{test: name} do
    streaming(name, 200)
    {tokens, [last]} = name |> DSPex.stream("qa", %{}) |> Enum.split(-1)
    assert Enum.map(tokens, & &1.text) == words(200)
    assert is_struct(last, Prediction) and last.answer == "all"
  end

  test "tokens, status and unknown items are told apart", %{test: name} do
    items = [
      %{"type" => "status", "message" => "Asking.", "stage" => "lm", "event" => "start", "name" => "sim"},
      %{"type" => "token", "text" => "4", "field" => "answer", "predictor" => "self", "last" => true},
      %{"type" => "later"}
    ]

    handled(name, fn _, _, _ -> {:stream, items, %{}} end)
    assert [status, token, other, _prediction] = Enum.to_list(DSPex.stream(name, "qa", %{}))
    assert status == %Status{message: "Asking.", stage: "lm", event: "start", name: "sim"}
    assert token == %Token{text: "4", field: "answer", predictor: "self", last?: true}
    assert other == %{"type" => "later"}
  end

  test "values and tools have structs of their own, and runs are told apart", %{test: name} do
    items = [
      %{"type" => "tool", "event" => "start", "name" => "lookup", "call" => 1, "arguments" => %{"k" => 1}},
      %{
        "type" => "tool",
        "event" => "end",
        "name" => "lookup",
        "call" => 1,
        "outcome" => "error",
        "code" => "x"
      },
      %{
        "type" => "value",
        "field" => "tags",
        "value" => ["a"],
        "predictor" => "p",
        "run" => 2,
        "last" => false
      },
      %{"type" => "value", "field" => "tags", "value" => nil, "predictor" => "p", "run" => 2, "last" => true},
      %{
        "type" => "token",
        "text" => "4",
        "field" => "answer",
        "predictor" => "p",
        "run" => 2,
        "last" => false
      }
    ]

    handled(name, fn _, _, _ -> {:stream, items, %{}} end)

    assert Enum.take(DSPex.stream(name, "qa", %{}), 5) == [
             %ToolEvent{event: "start", name: "lookup", call: 1, arguments: %{"k" => 1}},
             %ToolEvent{event: "end", name: "lookup", call: 1, outcome: "error", code: "x"},
             %PartialValue{field: "tags", value: ["a"], predictor: "p", run: 2},
             %PartialValue{field: "tags", value: nil, predictor: "p", run: 2, last?: true},
             %Token{text: "4", field: "answer", predictor: "p", run: 2}
           ]
  end

  test "the kinds of elements that are wanted are sent, and are checked before", %{test: name} do
    handled(name, fn _, payload, _ -> {:stream, [], %{"answer" => inspect(payload["events"])}} end)
    ask = fn options -> name |> DSPex.stream("qa", %{}, options) |> Enum.to_list() end
    assert [%{answer: ~s(["value", "tool"])}] = ask.(events: [:value, "tool"])
    assert [%{answer: "nil"}] = ask.([])

    assert_raise Error, ~r/events: expected a list of :token, :status, .*:words/, fn ->
      ask.(events: [:words])
    end

    assert {:error, %{details: %{"field" => "events"}}} = DSPex.predict(name, "qa", %{}, events: [:token])
  end

  test "nothing is sent before the first demand", %{test: name} do
    controlled(name)
    DSPex.stream(name, "qa", %{})
    refute_receive {Test, _, _, _}, 20
  end

  test "halting cancels and leaves nothing in the mailbox", %{test: name} do
    controlled(name)

    task =
      Task.async(fn -> {name |> DSPex.stream("qa", %{}) |> Enum.take(1), Process.info(self(), :messages)} end)

    {server, %{id: id, meta: %{"credit" => 64}}, _} = receive_frame(:call)

    for seq <- 0..3,
        do: Test.send_frame(server, :item, id, nil, %{"seq" => seq}, %{"type" => "token", "text" => "a"})

    assert {_, %{id: ^id}, nil} = receive_frame(:cancel)
    assert {[%Token{text: "a"}], {:messages, []}} = Task.await(task)
  end

  test "credit is given back in halves", %{test: name} do
    controlled(name)
    task = Task.async(fn -> Enum.count(DSPex.stream(name, "qa", %{}, credit: 4)) end)
    {server, %{id: id, meta: %{"credit" => 4}}, _} = receive_frame(:call)
    for seq <- 0..1, do: Test.send_frame(server, :item, id, nil, %{"seq" => seq}, %{"type" => "x"})
    assert {_, %{id: ^id, meta: %{"n" => 2}}, nil} = receive_frame(:credit)
    Test.send_frame(server, :reply, id, nil, %{}, %Tagged{tag: "prediction", value: %{"fields" => %{}}})
    assert Task.await(task) == 3
  end

  test "more items than credit, or a gap, end the stream", %{test: name} do
    controlled(name)
    task = Task.async(fn -> catch_error(Enum.count(DSPex.stream(name, "qa", %{}))) end)
    {server, %{id: id}, _} = receive_frame(:call)
    Test.send_frame(server, :item, id, nil, %{"seq" => 1}, %{})
    assert %Error{type: :envelope_invalid} = Task.await(task)
    assert {_, %{id: ^id}, nil} = receive_frame(:cancel)
  end

  test "a failure in the middle raises after what came before", %{test: name} do
    controlled(name)
    me = self()

    task =
      Task.async(fn ->
        catch_error(name |> DSPex.stream("qa", %{}) |> Enum.each(&send(me, {:element, &1.text})))
      end)

    {server, %{id: id}, _} = receive_frame(:call)
    Test.send_frame(server, :item, id, nil, %{"seq" => 0}, %{"type" => "token", "text" => "one"})

    Test.send_frame(
      server,
      :fail,
      id,
      nil,
      %{},
      Error.to_wire(Error.new(:worker_died, "gone", maybe_executed?: true))
    )

    assert %Error{type: :worker_died, maybe_executed?: true} = Task.await(task)
    assert_received {:element, "one"}
  end

  test "an option that is wrong raises too", %{test: name} do
    streaming(name, 1)

    assert_raise Error, ~r/timeout: expected/, fn ->
      Enum.to_list(DSPex.stream(name, "qa", %{}, timeout: 0))
    end
  end

  test "a process with a mailbox of its own gets messages", %{test: name} do
    streaming(name, 100)
    {:ok, call} = Streaming.start(name, "qa", %{}, credit: 8)
    assert collect(call, []) == {words(100), "all"}
    assert Streaming.handle(call, :something_else) == :other
  end

  test "a call of messages ends at its deadline too, with a message", %{test: name} do
    handled(name, fn _, _, _ -> :silence end)
    {:ok, call} = Streaming.start(name, "qa", %{}, timeout: 200)
    assert_receive {DSPex, _, :overdue} = message
    assert {:error, %{type: :deadline}} = Streaming.handle(call, message)
    assert Process.info(self(), :message_queue_len) == {:message_queue_len, 0}
  end

  test "a call of messages that ended has no reminder any more", %{test: name} do
    handled(name, fn _, _, _ -> {:prediction, %{}} end)
    {:ok, call} = Streaming.start(name, "qa", %{})
    assert_receive {DSPex, _, :reply, _, _} = message
    assert {:done, _} = Streaming.handle(call, message)
    assert Process.read_timer(call.timer) == false
  end

  defp collect(call, texts) do
    receive do
      message ->
        case Streaming.handle(call, message) do
          {:next, token, call} -> collect(call, [token.text | texts])
          {:done, prediction} -> {Enum.reverse(texts), prediction.answer}
        end
    end
  end
end
