defmodule DSPex.PartsTest do
  @moduledoc "Options of a spec that are made of other specs, on their way to the wire."
  use ExUnit.Case, async: true

  alias DSPex.{Error, Program, Spec}

  @predict %{"module" => "Predict", "signature" => "a -> b", "options" => %{}}

  defp options(module, options), do: Spec.new!(module, "a -> b", options).options

  defp refusal(options),
    do: with({:error, %Error{message: message}} <- Spec.new(:pipeline, "a -> b", options), do: message)

  test "nodes may be specs in any form, as keyword lists or as maps" do
    expected = %{"nodes" => %{"one" => @predict, "two" => @predict}}
    spec = Spec.new!(:predict, "a -> b")

    for nodes <- [
          [one: {:predict, "a -> b"}, two: {"Predict", "a -> b", []}],
          %{"one" => spec, "two" => Spec.to_wire(spec)},
          %{one: [module: :predict, signature: "a -> b"], two: %{module: "Predict", signature: "a -> b"}}
        ],
        do: assert(options(:pipeline, nodes: nodes) == expected)
  end

  test "a pipeline may be a node, and a node may have options" do
    inner =
      {:pipeline, "a -> b",
       nodes: [one: {:predict, "a -> b", config: [temperature: 0.5]}], outputs: [b: :one]}

    assert %{"nodes" => %{"outer" => %{"module" => "Pipeline", "options" => made}}} =
             options(:pipeline, nodes: [outer: inner])

    assert made["nodes"]["one"]["options"] == %{"config" => %{temperature: 0.5}}
    assert made["outputs"] == %{"b" => "one"}
  end

  test "a stored program may be a part of any module" do
    assert options(:majority, module: Program.new("qa", 3), N: 2)["module"] == %{
             "program" => "qa",
             "version" => 3
           }

    nodes = [newest: Program.new("qa"), tagged: Program.new("qa", tag: :stable)]

    assert options(:pipeline, nodes: nodes)["nodes"] == %{
             "newest" => %{"program" => "qa"},
             "tagged" => %{"program" => "qa", "tag" => "stable"}
           }
  end

  test "constants keep what they are" do
    wires = [n: [a: {:value, nil}, b: {:value, "x.y"}, c: {:value, [1, 2]}, d: "x.y", e: :a]]

    assert options(:pipeline, wires: wires)["wires"]["n"] == %{
             "a" => %{"value" => nil},
             "b" => %{"value" => "x.y"},
             "c" => %{"value" => [1, 2]},
             "d" => "x.y",
             "e" => "a"
           }
  end

  test "what was read from a server can be given back" do
    made = options(:pipeline, nodes: [one: Program.new("qa")], wires: [one: [a: {:value, 1}]])
    assert Spec.new!(:pipeline, "a -> b", made).options == made
  end

  test "a name that comes twice is told, since one of them would be lost" do
    part = {:predict, "a -> b"}

    assert refusal(nodes: [one: part, one: part]) ==
             "options.nodes.one: expected each name once, got a second one"

    assert refusal(nodes: %{:one => part, "one" => part}) =~ "options.nodes.one"
    assert refusal(wires: [one: [a: "b", a: "c"]]) =~ "options.wires.one.a"
    assert refusal(outputs: [b: "one.b", b: "two.b"]) =~ "options.outputs.b"
  end

  test "what is no part is told by its path" do
    assert refusal(nodes: [one: 3]) =~ "options.nodes.one: expected a DSPex.Spec"
    assert refusal(module: "qa") =~ "options.module: expected"
    assert refusal(nodes: [one: Program.new("")]) =~ "program: expected"
  end
end
