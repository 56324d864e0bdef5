defmodule DSPex.GraphServerTest do
  @moduledoc "What a program is made of, told by the real server."
  use ExUnit.Case, async: false

  import DSPex.Servers

  alias DSPex.{Error, Graph, Programs}

  @moduletag :server
  @moduletag :capture_log
  @moduletag timeout: 120_000

  setup_all do
    %{dspex: stored(__MODULE__.DSPex, "memory")}
  end

  test "every version of a stored program has its own", %{dspex: dspex} do
    first = Programs.create!(dspex, {:chain_of_thought, "question -> answer"}, program: "qa")
    demo = [question: "Wet?", reasoning: "It is water.", answer: "Yes"]
    second = Programs.update!(dspex, first, state: [predict: [demos: [demo, demo]]])

    for {program, demos} <- [{first, 0}, {second, 2}, {"qa", 2}] do
      assert {:ok, %Graph{nodes: [%{"kind" => "program", "name" => "qa"} | _] = nodes}} =
               DSPex.graph(dspex, program)

      assert [%{"id" => "self.predict", "predictor" => "predict", "demos" => ^demos}] =
               Enum.filter(nodes, &(&1["kind"] == "predictor"))
    end

    assert {:error, %Error{type: :unknown_program}} = DSPex.graph(dspex, "other")
  end

  test "an agent is drawn with its tools, though nobody offers them", %{dspex: dspex} do
    tools = [[name: "weather", desc: "Tells the weather.", args: %{city: %{type: "string"}}]]
    agent = {:react, "question -> answer", tools: tools}
    graph = DSPex.graph!(dspex, agent)
    assert %{"from" => "self", "to" => "self.tools[weather]", "kind" => "calls"} in graph.edges
    assert "flowchart LR\n" <> text = DSPex.graph!(dspex, agent, format: :mermaid)
    assert text =~ ~s({{"weather<br/>tool<br/>city#58; string)
    assert "<svg " <> svg = DSPex.graph!(dspex, agent, format: :svg)
    assert svg =~ ">weather</text>"
    refute svg =~ "<script"

    assert {:error, %Error{type: :invalid_argument, details: %{"field" => "spec.module"}}} =
             DSPex.graph(dspex, {"Oracle", "question -> answer"})
  end
end
