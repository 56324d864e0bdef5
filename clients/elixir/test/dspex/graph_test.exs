defmodule DSPex.GraphTest do
  @moduledoc "What a program is made of: the frames that go out, and what comes of the answers."
  use ExUnit.Case, async: true

  import DSPex.Asking

  alias DSPex.{Error, Graph, Program}

  @moduletag :capture_log

  @answer %{"nodes" => [%{"id" => "program"}], "edges" => []}
  @spec_map %{"module" => "Predict", "signature" => "question -> answer", "options" => %{}}

  test "a stored program is named in meta, by id, version or tag", %{test: name} do
    answering(name, @answer)
    graph = %Graph{nodes: [%{"id" => "program"}], edges: []}
    assert DSPex.graph(name, "qa") == {:ok, graph}
    assert asked() == {"program.graph", %{"program" => "qa"}, %{"format" => "data"}}
    assert DSPex.graph!(name, Program.new("qa", 3), format: :data) == graph
    assert asked() == {"program.graph", %{"program" => "qa", "version" => 3}, %{"format" => "data"}}
    assert DSPex.graph!(name, Program.new("qa", tag: "stable")) == graph
    assert asked() == {"program.graph", %{"program" => "qa", "tag" => "stable"}, %{"format" => "data"}}
  end

  test "a spec goes in the payload, and a drawing is a text", %{test: name} do
    answering(name, %{"text" => "flowchart LR\n"})
    assert DSPex.graph(name, {:predict, "question -> answer"}, format: :mermaid) == {:ok, "flowchart LR\n"}
    assert asked() == {"program.graph", %{}, %{"format" => "mermaid", "spec" => @spec_map}}
    assert DSPex.graph!(name, {:predict, "question -> answer"}, format: :svg) == "flowchart LR\n"
    assert asked() == {"program.graph", %{}, %{"format" => "svg", "spec" => @spec_map}}
  end

  test "mistakes are found before anything is sent", %{test: name} do
    answering(name, @answer)
    assert mistake(DSPex.graph(name, "qa", format: :png)) == "format"
    assert mistake(DSPex.graph(name, "qa", form: :svg)) == "form"
    assert mistake(DSPex.graph(name, "qa", :svg)) == "options"
    assert mistake(DSPex.graph(name, 3)) == "program"
    assert_raise Error, fn -> DSPex.graph!(name, 3) end
  end

  test "an error is handed on, and another answer is one", %{test: name} do
    answering(name, fn _payload -> "drawn" end)
    assert {:error, %Error{type: :internal}} = DSPex.graph(name, "qa")
  end
end
