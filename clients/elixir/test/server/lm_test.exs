defmodule DSPex.ServerLMTest do
  @moduledoc "Language models without a program, of every kind, through a real server."
  use ExUnit.Case, async: false

  alias DSPex.{Error, LM, Tagged, Token}
  alias DSPex.LM.{Answer, Embeddings, Trial}

  @moduletag :server
  @moduletag :capture_log
  @moduletag timeout: 120_000

  @tools [%{name: "add", desc: "Adds.", args: %{a: %{type: :integer}, b: %{type: :integer}}}]

  setup_all do
    name = __MODULE__.DSPex
    command = OptionParser.split(System.fetch_env!("DSPEX_COMMAND"))

    start_supervised!(
      {DSPex,
       name: name,
       command: command,
       args: ["--workers", "1", "--log-level", "error"],
       lms: %{
         default: %{model: "sim/x", usd_per_million_in: 1.0, usd_per_million_out: 2.0},
         http: %{model: "openai/sim-x", api_base: offline_provider(hd(command))},
         mine: "host/mine",
         broken: %{model: "sim/x", options: %{error_rate: 1.0}}
       },
       functions: %{"mine" => &mine/1},
       tenant: "tests",
       timeout: 60_000}
    )

    DSPex.echo!(name, nil, timeout: 60_000)
    %{dspex: name}
  end

  # Ends with this process: it listens only as long as somebody holds its stdin.
  defp offline_provider(program) do
    program = System.find_executable(program)
    port = Port.open({:spawn_executable, program}, [:binary, line: 1_000, args: ["sim-lm", "--until-eof"]])
    assert_receive {^port, {:data, {:eol, line}}}, 30_000
    [_, base] = Regex.run(~r/"api_base": "([^"]+)"/, line)
    base
  end

  # A function as a language model, with tools and vectors.
  defp mine(%{"texts" => texts}), do: for(text <- texts, do: [byte_size(text) * 1.0, 0.5])

  defp mine(%{"tools" => [%{"name" => name}], "messages" => [_]}),
    do: %{tool_calls: [%{name: name, args: %{a: 1}}]}

  defp mine(%{"messages" => messages}), do: "#{length(messages)} messages"

  for lm <- ["default", "http", "mine"] do
    test "#{lm} completes, streams and makes vectors", %{dspex: dspex} do
      assert {:ok, %Answer{text: text} = answer} = LM.generate(dspex, "Tell.", lm: unquote(lm))
      assert text != ""
      assert answer.meta["lm_calls"] == 1
      assert answer.meta["lm"] == unquote(lm)
      {tokens, [last]} = dspex |> LM.stream("Tell.", lm: unquote(lm)) |> Enum.split(-1)
      assert Enum.all?(tokens, &is_struct(&1, Token))
      assert {Enum.map_join(tokens, & &1.text), last.text} == {text, text}
      {:ok, embeddings} = LM.embed(dspex, ["one", "three"], lm: unquote(lm))
      assert [[_ | _], [_ | _]] = Embeddings.to_lists(embeddings)
    end

    test "#{lm} wants a tool called and goes on with its result", %{dspex: dspex} do
      messages = [%{role: :user, content: "How much?"}]
      {:ok, answer} = LM.chat(dspex, messages, tools: @tools, lm: unquote(lm))
      assert [%{id: id, name: "add", args: %{}}] = answer.tool_calls
      assert answer.finish_reason == "tool_call"
      streamed = dspex |> LM.stream(messages, tools: @tools, lm: unquote(lm)) |> Enum.to_list()
      assert [%LM.ToolCall{name: "add", args: args} = call, %Answer{tool_calls: [wanted]}] = streamed
      assert {call.id, args} == {wanted.id, wanted.args}
      result = %{role: :tool, tool_call_id: id, content: "21"}
      answer = LM.chat!(dspex, messages ++ [answer.message, result], tools: @tools, lm: unquote(lm))
      assert {answer.tool_calls, answer.text != ""} == {[], true}
    end
  end

  test "what is configured is told, and whether it works is tried", %{dspex: dspex} do
    rows = Map.new(LM.list!(dspex), &{&1["name"], &1})
    assert rows["default"]["prices"] == %{"in" => 1.0, "out" => 2.0, "by" => "host"}
    assert rows["mine"]["kind"] == "host"
    assert rows["http"]["by"] in ["dspy", "engine"]
    assert [[1], false] == [rows["default"]["clients"], rows["default"]["settings"]]
    assert {:ok, %Trial{ok?: true, usage: %{"lm_calls" => 1}}} = LM.test(dspex)
    assert {:ok, %Trial{ok?: false, error: %Error{type: :lm_unavailable}}} = LM.test(dspex, lm: "broken")
    assert {:error, %Error{type: :unknown_lm}} = LM.test(dspex, lm: "absent")
  end

  test "calls tell their cost, and the server the totals", %{dspex: dspex} do
    before = spent(dspex)
    answer = LM.generate!(dspex, "Tell me more.")
    %{"tokens_in" => tokens_in, "tokens_out" => tokens_out, "cost_usd" => cost} = answer.meta
    assert_in_delta cost, (tokens_in + 2 * tokens_out) / 1_000_000, 1.0e-9
    assert_in_delta spent(dspex) - before, cost, 1.0e-9
    usage = LM.usage!(dspex)
    assert %{"tenant" => "tests"} = hd(usage["tenants"])
    assert Enum.any?(usage["lms"], &(&1["lm"] == "default" and &1["cost_usd"] > 0))
    assert DSPex.info!(dspex)["spent"]["lm_calls"] > 0
  end

  defp spent(dspex), do: LM.usage!(dspex)["total"]["cost_usd"]

  test "a wrong message is refused with its place", %{dspex: dspex} do
    wrong = [%{role: :user, content: [%Tagged{tag: "image", value: %{"url" => "file:///etc/passwd"}}]}]
    assert {:error, %Error{details: %{"field" => "messages[0].content[0].url"}}} = LM.chat(dspex, wrong)
  end
end
