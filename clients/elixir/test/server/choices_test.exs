defmodule DSPex.ChoicesServerTest do
  @moduledoc "Adapters, violations and prompts with the real `dspex serve` and a model in Elixir."
  use ExUnit.Case, async: false

  alias DSPex.{Error, Prediction, Status, Token}

  @moduletag :server
  @moduletag :capture_log
  @moduletag timeout: 120_000

  @ticket [inputs: [ticket: :string], outputs: [urgency: {:integer, le: 10}, reply: :string]]

  setup_all do
    name = __MODULE__.DSPex

    start_supervised!({
      DSPex,
      name: name,
      command: OptionParser.split(System.fetch_env!("DSPEX_COMMAND")),
      lms: %{
        default: "sim/default",
        hasty: "host/hasty",
        stubborn: "host/stubborn",
        able: %{model: "openai/gpt-4o-mini", api_base: "http://127.0.0.1:9/v1", api_key_secret: "key"}
      },
      secrets: %{"key" => "sk-0123456789"},
      functions: %{
        "hasty" => &hasty/1,
        "stubborn" => fn _asked -> answer(11) end,
        "weather" => fn %{"city" => city} -> "rain in #{city}" end
      },
      timeout: 60_000
    })

    {:ok, _} = DSPex.echo(name, nil, timeout: 60_000)
    %{dspex: name}
  end

  # Too high at first; it does as it is told.
  defp hasty(%{"messages" => messages}) do
    told = List.last(messages)["content"]
    answer(if told =~ "`urgency` was 11" and told =~ "less than or equal to 10", do: 10, else: 11)
  end

  defp answer(urgency), do: "[[ ## urgency ## ]]\n#{urgency}\n\n[[ ## reply ## ]]\nAt once."

  defp program, do: %{module: :predict, signature: @ticket}

  test "every adapter of the server's DSPy gives a prediction", %{dspex: dspex} do
    {:ok, %{"adapters" => adapters}} = DSPex.describe(dspex)
    assert length(adapters) >= 5

    for %{"name" => name, "options" => options} <- adapters do
      adapter = if options["extraction_model"]["required"], do: {name, extraction_model: :default}, else: name

      assert {:ok, prediction} = DSPex.predict(dspex, program(), %{ticket: "It smokes."}, adapter: adapter)
      assert prediction.urgency <= 10
    end
  end

  test "an adapter that does not exist is told with those that do", %{dspex: dspex} do
    assert {:error, %Error{type: :invalid_argument} = error} =
             DSPex.predict(dspex, program(), %{ticket: "?"}, adapter: :yaml)

    assert error.details["field"] == "adapter"
    assert error.message =~ "baml, chat, json, two_step, xml"
  end

  test "what cannot be streamed says so", %{dspex: dspex} do
    adapter = {:two_step, extraction_model: "default"}
    stream = DSPex.stream(dspex, program(), %{ticket: "?"}, adapter: adapter)
    error = assert_raise Error, fn -> Enum.to_list(stream) end
    assert error.details["field"] == "adapter"
  end

  test "a broken constraint is an error with the rule", %{dspex: dspex} do
    assert {:error, %Error{type: :prediction_failed, details: details}} =
             DSPex.predict(dspex, program(), %{ticket: "It smokes."}, lm: :stubborn)

    assert details["field"] == "urgency"
    assert details["expected"] =~ "less than or equal to 10"

    assert {:error, %Error{type: :prediction_failed, details: %{"attempts" => 3}}} =
             DSPex.predict(dspex, program(), %{ticket: "?"}, lm: :stubborn, on_violation: {:retry, 2})
  end

  test "or the model is asked again", %{dspex: dspex} do
    options = [lm: :hasty, on_violation: {:retry, 1}]
    assert {:ok, prediction} = DSPex.predict(dspex, program(), %{ticket: "It smokes."}, options)
    assert {prediction.urgency, prediction.meta["lm_calls"]} == {10, 2}
  end

  test "a stored program keeps what it chose, and a call may choose anew", %{dspex: dspex} do
    {:ok, stored} =
      DSPex.create(dspex, program(), program: "careful", adapter: :chat, on_violation: {:retry, 1})

    record = DSPex.get!(dspex, stored)
    assert record.spec.adapter == %{"name" => "chat", "options" => %{}}
    assert record.spec.on_violation == %{"retry" => 1}
    assert {:ok, %{urgency: 10}} = DSPex.predict(dspex, stored, %{ticket: "?"}, lm: :hasty)

    assert {:error, %Error{type: :prediction_failed}} =
             DSPex.predict(dspex, stored, %{ticket: "?"}, lm: :hasty, on_violation: :fail)

    assert {:ok, [%{"predictor" => "self", "messages" => messages}]} =
             DSPex.prompts(dspex, stored, inputs: [ticket: "It smokes."])

    assert List.last(messages)["content"] =~ "[[ ## ticket ## ]]\nIt smokes."
    :ok = DSPex.delete(dspex, stored)
  end

  test "a stream says when a predictor begins again", %{dspex: dspex} do
    options = [lm: :hasty, on_violation: {:retry, 1}]
    elements = dspex |> DSPex.stream(program(), %{ticket: "It smokes."}, options) |> Enum.to_list()
    last = List.last(elements)
    assert {is_struct(last, Prediction), last.urgency} == {true, 10}

    {_void, [%Status{event: "retry", name: "self", run: 1} | rest]} =
      Enum.split_while(elements, &(not retry?(&1)))

    assert Enum.join(for %Token{field: "reply", text: text} <- rest, do: text) == "At once."
  end

  defp retry?(%Status{event: event}), do: event == "retry"
  defp retry?(_element), do: false

  test "prompts are told with what a program is to have learned", %{dspex: dspex} do
    state = [self: [instructions: "Be brief.", demos: [[question: "Wet?", answer: "Yes."]]]]

    assert {:ok, %{"prompts" => [prompt], "json_schema" => _}} =
             DSPex.describe_signature(dspex, "question -> answer", adapter: :json, state: state)

    assert [%{"role" => "system", "content" => system}, _, %{"role" => "assistant"}, last] =
             prompt["messages"]

    assert system =~ "Be brief."
    assert last["content"] =~ "{question}"
  end

  test "prompts are told with the functions and the schema that a model gets", %{dspex: dspex} do
    weather = %{name: "weather", desc: "Tells the weather.", args: %{city: %{"type" => "string"}}}
    agent = {:re_act_v2, "question -> answer", tools: [weather]}
    assert [prompt] = DSPex.prompts!(dspex, agent, adapter: :json, lm: :able)
    names = for %{"function" => function} <- prompt["tools"], do: function["name"]
    assert {prompt["predictor"], names} == {"react", ["weather", "submit"]}
    assert [told] = DSPex.prompts!(dspex, {:predict, "question -> n: int"}, adapter: :json, lm: :able)
    schema = told["response_format"]["json_schema"]["schema"]
    assert schema["properties"]["n"]["type"] == "integer"
    assert [plain] = DSPex.prompts!(dspex, agent, adapter: :json)
    refute is_map_key(plain, "tools")
  end
end
