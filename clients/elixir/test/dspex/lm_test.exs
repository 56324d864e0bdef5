defmodule DSPex.LMTest do
  @moduledoc "Language models without a program: the frames that go out, and what comes of the answers."
  use ExUnit.Case, async: true

  import DSPex.Instances

  alias DSPex.{Binary, Error, Image, LM, Tagged, Tensor, Test, Token}
  alias DSPex.LM.{Answer, Embeddings, Trial}

  @moduletag :capture_log

  # A server that answers everything alike and tells what it was asked.
  defp answering(name, answer) do
    me = self()

    handled(name, fn method, payload, _meta ->
      send(me, {:asked, method, payload})
      {:reply, answer}
    end)
  end

  test "a prompt goes out with its settings, and its completions come back", %{test: name} do
    answering(name, %{"completions" => ["a", "b"], "finish_reasons" => ["stop", "length"], "model" => "m"})
    answer = LM.generate!(name, "Why?", system: "Be short.", lm: :big, config: [n: 2])

    assert_received {:asked, "lm.generate",
                     %{"prompt" => "Why?", "system" => "Be short.", "lm" => "big", "config" => %{"n" => 2}}}

    assert %Answer{text: "a", finish_reason: "stop", model: "m", others: [other]} = answer
    assert {other.text, other.finish_reason} == {"b", "length"}
    assert "#{answer}" == "a"
  end

  test "a conversation goes out in plain maps, whatever it was written in", %{test: name} do
    message = %{"role" => "assistant", "content" => nil, "tool_calls" => [wanted()]}
    answering(name, %{"answers" => [%{"message" => message, "finish_reason" => "tool_call"}]})
    png = Image.from_binary!(<<0x89, "PNG\r\n", 0x1A, "\n">>)
    messages = [[role: :user, content: ["See", png]], %{"role" => "user", "content" => "And?"}]
    tools = [%{name: "add", args: %{a: %{type: :integer}}}]

    {:ok, answer} = LM.chat(name, messages, tools: tools)
    assert_received {:asked, "lm.chat", %{"messages" => [first, second], "tools" => [tool]}}
    assert first == %{"role" => "user", "content" => ["See", png]}
    assert second == %{"role" => "user", "content" => "And?"}
    assert tool == %{"name" => "add", "args" => %{"a" => %{"type" => "integer"}}}
    assert answer.tool_calls == [%{id: "1", name: "add", args: %{"a" => 1}}]
    assert {answer.text, answer.message, answer.finish_reason} == {"", message, "tool_call"}
  end

  defp wanted, do: %{"id" => "1", "name" => "add", "args" => %{"a" => 1}}

  test "vectors come as one tensor, and as lists on demand", %{test: name} do
    data = for number <- [1.0, 2.0, 3.0, 4.0], into: <<>>, do: <<number::float-little-32>>
    answering(name, %{"vectors" => %Tensor{dtype: "f4", shape: [2, 2], data: data}})
    assert {:ok, %Embeddings{} = embeddings} = LM.embed(name, ["a", "b"], lm: "vectors")
    assert_received {:asked, "lm.embed", %{"texts" => ["a", "b"], "lm" => "vectors"}}
    assert Embeddings.to_lists(embeddings) == [[1.0, 2.0], [3.0, 4.0]]
  end

  test "a model that does not work is a result", %{test: name} do
    error = %{"code" => "lm_auth", "message" => "the provider refused the credentials", "retryable" => false}

    answering(name, %{
      "lm" => "x",
      "model" => "openai/x",
      "ok" => false,
      "latency_ms" => 3.0,
      "error" => error
    })

    assert {:ok, %Trial{ok?: false, lm: "x", error: %Error{type: :lm_auth}}} =
             LM.test(name, lm: "x", within: 500)

    assert_received {:asked, "lm.test", %{"lm" => "x", "timeout_s" => 0.5}}
  end

  test "what was spent is told as it comes", %{test: name} do
    answering(name, %{"total" => %{"lm_calls" => 1}})
    assert LM.usage!(name, limit: 3) == %{"total" => %{"lm_calls" => 1}}
    assert_received {:asked, "lm.usage", %{"limit" => 3}}
  end

  test "text is streamed, and the answer is the last", %{test: name} do
    controlled(name)
    task = Task.async(fn -> name |> LM.stream("Tell.") |> Enum.to_list() end)

    {server, %{method: "lm.generate", id: id, meta: %{"credit" => 64}}, %{"prompt" => "Tell."}} =
      receive_frame(:call)

    for {text, seq} <- Enum.with_index(["one ", "two"]) do
      item = %{"type" => "token", "field" => "text", "text" => text, "last" => seq == 1}
      Test.send_frame(server, :item, id, nil, %{"seq" => seq}, item)
    end

    Test.send_frame(server, :reply, id, nil, %{"lm_calls" => 1}, %{"completions" => ["one two"]})
    assert [%Token{text: "one ", last?: false}, %Token{text: "two", last?: true}, answer] = Task.await(task)
    assert %Answer{text: "one two", meta: %{"lm_calls" => 1}} = answer
  end

  test "calls of tools are elements of a stream, and say which answer they are of", %{test: name} do
    controlled(name)
    messages = [%{role: :user, content: "How much?"}]
    task = Task.async(fn -> name |> LM.stream(messages, config: [n: 2]) |> Enum.to_list() end)
    {server, %{id: id}, _payload} = receive_frame(:call)
    call = %{"id" => "c1", "name" => "add", "args" => %{"a" => 1}}
    Test.send_frame(server, :item, id, nil, %{"seq" => 0}, Map.put(call, "type", "tool_call"))
    text = %{"type" => "token", "field" => "text", "text" => "3", "last" => true, "completion" => 1}
    Test.send_frame(server, :item, id, nil, %{"seq" => 1}, text)
    message = %{"role" => "assistant", "content" => nil, "tool_calls" => [call]}
    Test.send_frame(server, :reply, id, nil, %{}, %{"answers" => [%{"message" => message}]})
    assert [first, %Token{text: "3", completion: 1}, %Answer{tool_calls: [%{name: "add"}]}] = Task.await(task)
    assert first == %LM.ToolCall{id: "c1", name: "add", args: %{"a" => 1}, completion: 0}
  end

  test "a stream that is halted cancels its call", %{test: name} do
    controlled(name)
    messages = [%{role: :user, content: "Tell."}]
    task = Task.async(fn -> name |> LM.stream(messages) |> Enum.take(1) end)
    {server, %{method: "lm.chat", id: id}, _payload} = receive_frame(:call)

    Test.send_frame(server, :item, id, nil, %{"seq" => 0}, %{
      "type" => "token",
      "text" => "a",
      "field" => "text"
    })

    assert [%Token{text: "a"}] = Task.await(task)
    assert {_server, %{id: ^id}, _} = receive_frame(:cancel)
  end

  test "wrong arguments are named before anything is sent", %{test: name} do
    answering(name, nil)

    for {wrong, field} <- [
          {fn -> LM.generate(name, 5) end, "prompt"},
          {fn -> LM.chat(name, "hello") end, "messages"},
          {fn -> LM.chat(name, [%{role: :user, content: "x"}, "hello"]) end, "messages[1]"},
          {fn -> LM.chat(name, [], tools: ["add"]) end, "tools[0]"},
          {fn -> LM.test(name, within: 0) end, "within"},
          {fn -> LM.embed(name, ["x"], size: 3) end, "size"},
          {fn -> LM.generate(name, "x", credit: 3) end, "credit"},
          {fn -> LM.usage(name, limit: 0) end, "limit"}
        ] do
      assert {:error, %Error{type: :invalid_argument, details: %{"field" => ^field}}} = wrong.()
    end

    refute_received {:asked, _, _}
    assert_raise Error, fn -> name |> LM.stream(5) |> Enum.to_list() end
  end

  test "an answer of another form is an error, and no crash", %{test: name} do
    answering(name, %{"surprise" => %Tagged{tag: "code", value: Binary.new("x")}})
    assert {:error, %Error{type: :internal}} = LM.generate(name, "x")
    assert {:error, %Error{type: :internal}} = LM.chat(name, [%{role: :user, content: "x"}])
    assert {:error, %Error{type: :internal}} = LM.embed(name, ["x"])
    assert {:error, %Error{type: :internal}} = LM.test(name)
  end
end
