defmodule DSPex.MessagePackTest do
  @moduledoc "Values there and back, and bytes that must be refused."
  use ExUnit.Case, async: true

  alias DSPex.{Binary, Decimal, FunctionReference, MessagePack, Tagged, Tensor}

  defp there_and_back(value), do: value |> MessagePack.encode!() |> MessagePack.decode!()

  defp refusal(bytes) do
    assert {:error, error} = MessagePack.decode(bytes)
    error.type
  end

  defp unencodable(value) do
    assert {:error, error} = MessagePack.encode(value)
    error.type
  end

  @edges for bits <- [5, 7, 8, 15, 16, 31, 32, 63, 64, 100, 2000],
             off <- -1..1,
             do: Integer.pow(2, bits) + off

  test "integers of every size come back" do
    for number <- @edges, signed <- [number, -number], do: assert(there_and_back(signed) == signed)
  end

  test "floats come back, also those that the BEAM does not have" do
    for float <- [0.5, -1.0e300, :nan, :infinity, :neg_infinity], do: assert(there_and_back(float) == float)
    assert MessagePack.decode!(<<0xCA, 0x7F800000::32>>) == :infinity
  end

  test "text stays text and bytes stay bytes" do
    assert there_and_back("naïve ☃") == "naïve ☃"
    assert there_and_back(Binary.new("text")) == Binary.new("text")
    assert there_and_back(<<255, 0>>) == Binary.new(<<255, 0>>)
  end

  test "strings, lists and maps come back at each size of header" do
    for size <- [0, 15, 16, 31, 32, 255, 256, 65_535, 65_536] do
      assert there_and_back(String.duplicate("x", size)) == String.duplicate("x", size)
      assert there_and_back(List.duplicate(nil, size)) == List.duplicate(nil, size)
      assert there_and_back(Binary.new(:binary.copy(<<255>>, size))).data == :binary.copy(<<255>>, size)
    end

    map = Map.new(1..70_000, &{"key#{&1}", &1})
    assert there_and_back(map) == map
  end

  test "atoms become text, as keys and as values" do
    assert there_and_back(%{mode: :fast, on: true, off: nil}) == %{
             "mode" => "fast",
             "on" => true,
             "off" => nil
           }
  end

  test "Elixir's own types come back as themselves" do
    values = [
      ~D[2024-02-29],
      ~T[23:59:59.000001],
      ~N[2024-02-29 12:00:00],
      ~U[2024-02-29 12:00:00Z],
      ~U[2024-02-29 12:00:00.123456Z],
      ~U[1900-01-01 00:00:00Z],
      {1, "two"},
      MapSet.new([1, 2]),
      %{1 => "one", "two" => 2}
    ]

    for value <- values, do: assert(there_and_back(value) == value)
  end

  test "our own values come back" do
    values = [
      %Decimal{text: "-1.50"},
      Tensor.from_floats([1.0, -2.0]),
      %FunctionReference{name: "lookup"},
      %Tagged{tag: "uuid", value: "123e4567-e89b-12d3-a456-426614174000"},
      %Tagged{tag: "later", value: %{"a" => [1]}}
    ]

    for value <- values, do: assert(there_and_back(value) == value)
  end

  test "a value without a form on the wire is refused by name" do
    assert unencodable(self()) == :value_unencodable
    assert unencodable(%{a: fn -> 1 end}) == :value_unencodable
    assert unencodable([1 | 2]) == :value_unencodable
    assert unencodable(Integer.pow(2, 40_000)) == :value_unencodable
    assert unencodable(%Decimal{text: "1,5"}) == :value_unencodable
    assert unencodable(%Tensor{dtype: "f8", shape: [2], data: <<>>}) == :value_unencodable
    assert {:error, %{message: message}} = MessagePack.encode(%URI{})
    assert message =~ "URI"
  end

  test "the same name as atom and as string is refused" do
    assert unencodable(%{:a => 1, "a" => 2}) == :value_duplicate_key
  end

  test "nesting ends at 64 in both directions" do
    nested = fn depth -> Enum.reduce(1..depth, nil, fn _, inner -> [inner] end) end
    assert there_and_back(nested.(64)) == nested.(64)
    assert unencodable(nested.(65)) == :value_too_deep
    assert refusal(:binary.copy(<<0x91>>, 65) <> <<0xC0>>) == :value_too_deep
  end

  test "a bomb of items is refused before it costs memory" do
    bomb = <<0xDD, 1_048_577::32>> <> :binary.copy(<<0xC0>>, 1_048_577)
    assert refusal(bomb) == :value_too_many_items
    assert refusal(<<0xDD, 0xFFFFFFFF::32>>) == :value_truncated
    assert refusal(<<0xDF, 0xFFFFFFFF::32, 0>>) == :value_truncated
  end

  test "every way to be cut short is refused as truncated" do
    whole = MessagePack.encode!(%{"a" => [1, 1.5, "text", Binary.new(<<255>>), ~D[2024-01-01], 70_000]})

    for size <- 0..(byte_size(whole) - 1) do
      assert refusal(binary_part(whole, 0, size)) == :value_truncated
    end
  end

  test "no bytes crash the decoder" do
    :rand.seed(:exsss, {1, 2, 3})

    for _ <- 1..20_000 do
      bytes = :rand.bytes(:rand.uniform(40))
      assert {outcome, _} = MessagePack.decode(bytes)
      assert outcome in [:ok, :error]
    end
  end
end
