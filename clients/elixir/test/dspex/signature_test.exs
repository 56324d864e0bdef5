defmodule DSPex.SignatureTest do
  @moduledoc "Signatures from descriptions, and the messages for mistakes in them."
  use ExUnit.Case, async: true

  alias DSPex.{Error, Signature}

  defmodule City do
    use DSPex.Signature, instructions: "Know your cities."
    signature([question: :string], name: :string, people: {:integer, ge: 0})
  end

  defmodule Plain do
    use DSPex.Signature
    signature("question -> answer")
  end

  defp output(type) do
    Signature.new!(outputs: [it: type]) |> Signature.to_wire() |> Map.fetch!("outputs") |> hd()
  end

  defp mistake(description) do
    assert {:error, %Error{type: :invalid_argument} = error} = Signature.new(description)
    error.details["field"]
  end

  test "types become those of the protocol" do
    assert output(:integer)["type"] == "int"
    assert output("list[int]")["type"] == "list[int]"
    assert output({:list, :string})["type"] == %{"kind" => "list", "items" => "str"}
    assert output({:map, :float})["type"] == %{"kind" => "map", "values" => "float"}
    assert output({:enum, ["a", "b"]})["type"] == %{"kind" => "enum", "values" => ["a", "b"]}
    assert output({:optional, :date})["type"] == %{"kind" => "optional", "of" => "date"}
    assert output({:union, [:string, :integer]})["type"] == %{"kind" => "union", "types" => ["str", "int"]}
  end

  test "maps of fields and other signatures are objects" do
    fields = [%{"name" => "a", "type" => "int", "ge" => 1}]

    assert output({:map, [a: {:integer, ge: 1}]})["type"] == %{
             "kind" => "object",
             "name" => "It",
             "fields" => fields
           }

    assert %{"kind" => "object", "name" => "City", "fields" => [_, _, _]} = output(City)["type"]
  end

  test "options become constraints" do
    assert %{"ge" => 1, "le" => 5} = output({:integer, range: 1..5})
    assert %{"ge" => 0.0, "le" => 1.0, "desc" => "sure"} = output({:float, range: {0.0, 1.0}, desc: "sure"})
    assert %{"min_length" => 1, "max_length" => 3} = output({{:list, :string}, min_items: 1, max_items: 3})
    assert %{"pattern" => "^a+$"} = output({:string, pattern: ~r/^a+$/})
    assert %{"default" => nil, "optional" => true} = output({:string, default: nil, optional: true})
  end

  test "a module stands for its signature" do
    assert {:ok, %Signature{name: "City", instructions: "Know your cities."}} = Signature.new(City)
    assert {:ok, "question -> answer"} = Signature.new(Plain)
  end

  test "a mistake in a module is an error when it is compiled" do
    code = "defmodule Broken do\n use DSPex.Signature\n signature [a: :string], b: :strnig\nend"
    assert_raise Error, ~r/outputs.b.type: expected one of/, fn -> Code.compile_string(code) end
  end

  test "each mistake is named by its field" do
    assert mistake("question") == "signature"
    assert mistake(inputs: [a: :string]) == "outputs"
    assert mistake(outputs: [a: :strnig]) == "outputs.a.type"
    assert mistake(outputs: [_a: :string]) == "outputs._a"
    assert mistake(outputs: [{"a b", :string}]) == "outputs.a b"
    assert mistake(outputs: [a: {:string, colour: 1}]) == "outputs.a.colour"
    assert mistake(outputs: [a: {:integer, ge: "1"}]) == "outputs.a.ge"
    assert mistake(outputs: [a: :string, a: :string]) == "outputs.a"
    assert mistake(inputs: [a: :string], outputs: [a: :string]) == "outputs.a"
    assert mistake(outputs: [a: :string], colour: 1) == "signature.colour"
  end
end
