defmodule DSPex.CodeTest do
  @moduledoc "Code that a model writes: it runs in the real server's sandbox, and calls functions from there."
  use ExUnit.Case, async: false

  alias DSPex.Spec

  @moduletag :server
  @moduletag :capture_log
  @moduletag timeout: 180_000

  setup_all do
    name = __MODULE__.DSPex

    start_supervised!(
      {DSPex,
       name: name,
       command: OptionParser.split(System.fetch_env!("DSPEX_COMMAND")),
       args: ["--workers", "1", "--log-level", "error"],
       lms: %{default: "host/model"},
       functions: %{"model" => &model/1, "stock" => &stock/1},
       timeout: 120_000}
    )

    DSPex.echo!(name, nil, timeout: 60_000)
    %{dspex: name}
  end

  defp stock(%{"article" => "teapot"}), do: 3
  defp stock(%{"article" => article}), do: raise(ArgumentError, "there is no #{article}")

  defp model(%{"messages" => [%{"content" => fields} | _] = messages}) do
    cond do
      fields =~ "finished" ->
        code = "found = stock('teapot')\ntry:\n  stock('cup')\nexcept Exception as e:\n  print(found + 4, e)"
        say(generated_code: "```python\n#{code}\n```", finished: "True")

      fields =~ "trajectory" ->
        say(reasoning: "seen", answer: List.last(messages)["content"] |> String.replace("[[", "("))

      fields =~ "repl_history" ->
        say(reasoning: "counted", code: "```python\nSUBMIT(answer=len(text))\n```")

      fields =~ "final_generated_code" ->
        [_, given] = String.split(List.last(messages)["content"], "[[ ## code_output ## ]]")
        say(reasoning: "seen", answer: ~r/\d+/ |> Regex.run(given) |> hd())

      true ->
        say(reasoning: "add", generated_code: "```python\ntotal = sum(range(10))\nSUBMIT(total)\n```")
    end
  end

  defp say(fields),
    do:
      Enum.map_join(fields ++ [completed: ""], "\n\n", fn {name, text} -> "[[ ## #{name} ## ]]\n#{text}" end)

  test "a program of thought computes", %{dspex: dspex} do
    program = {:program_of_thought, "question -> answer: int"}
    assert DSPex.predict!(dspex, program, question: "?").answer == 45
  end

  test "an agent's code calls functions of Elixir, and catches what they raise", %{dspex: dspex} do
    tools = [[name: "stock", args: %{article: %{type: "string"}}]]
    answer = DSPex.predict!(dspex, {:code_act, "question -> answer", tools: tools}, question: "?").answer
    assert answer =~ "7 "
    assert answer =~ "there is no cup"
  end

  test "a recursive model sees its inputs as variables", %{dspex: dspex} do
    assert DSPex.predict!(dspex, {:rlm, "text -> answer: int"}, text: "häuser").answer == 6
  end

  test "source is what a flex has learned, and calls functions of Elixir", %{dspex: dspex} do
    source = """
    class Stock(dspy.Module):
        def forward(self, **inputs):
            return dspy.Prediction(count=stock(article=inputs["article"]) + 1)
    """

    tools = [[name: "stock", args: %{article: %{type: "string"}}]]
    program = {:flex, "article -> count: int", tools: tools}
    clerk = DSPex.create!(dspex, program, program: "clerk", state: [self: [source: source]])
    assert DSPex.predict!(dspex, clerk, article: "teapot").count == 4

    assert {:error, %{type: :invalid_argument, details: %{"field" => "state.self.source"}}} =
             DSPex.create(dspex, program, state: [self: [source: "import os"]])
  end

  test "a host can ask whether code is run", %{dspex: dspex} do
    assert %{"can_run" => true, "sandbox" => sandbox} = DSPex.check_code!(dspex)
    assert sandbox in ["bubblewrap", "deno"]
  end

  test "their names are DSPy's" do
    for {name, module} <- [
          program_of_thought: "ProgramOfThought",
          code_act: "CodeAct",
          rlm: "RLM",
          flex: "Flex"
        ] do
      assert Spec.new!(name, "question -> answer").module == module
    end
  end
end
