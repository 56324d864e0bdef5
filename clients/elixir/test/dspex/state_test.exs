defmodule DSPex.Programs.StateTest do
  @moduledoc "What a program has learned has strings for keys on the wire, all through."
  use ExUnit.Case, async: true

  alias DSPex.Programs.State
  alias DSPex.Tagged

  test "keyword lists and atoms become maps and strings, also inside of examples" do
    demo = [question: "Wet?", source: [page: 3, lines: [[from: 1], %{from: 2}]], tags: [:a], none: nil]
    example = %Tagged{tag: "example", value: %{"fields" => %{"question" => "Wet?"}, "inputs" => ["question"]}}
    words = [prefix: "Question:", description: "what is asked"]

    state = [
      self: [demos: [demo, %{"question" => "Cold?"}, example], train: [], fields: [words], lm: "fast"],
      other: %{decisions: %{n: [k: 1]}}
    ]

    assert State.to_wire(state) ==
             {:ok,
              %{
                "self" => %{
                  "demos" => [
                    %{
                      "question" => "Wet?",
                      "source" => %{"page" => 3, "lines" => [%{"from" => 1}, %{"from" => 2}]},
                      "tags" => [:a],
                      "none" => nil
                    },
                    %{"question" => "Cold?"},
                    example
                  ],
                  "train" => [],
                  "fields" => [%{"prefix" => "Question:", "description" => "what is asked"}],
                  "lm" => "fast"
                },
                "other" => %{"decisions" => %{"n" => %{"k" => 1}}}
              }}
  end

  test "what came over the wire goes back as it is" do
    parts = %{"instructions" => "", "demos" => [%{"day" => ~D[2024-02-29], "set" => MapSet.new([1])}]}
    assert State.to_wire(%{"predict" => parts}) == {:ok, %{"predict" => parts}}
    assert State.to_wire(%{}) == {:ok, %{}}
  end

  test "a name that is there as atom and as string is left to the encoder, which refuses it" do
    inner = %{:a => 1, "a" => 2}
    assert {:ok, %{"self" => %{"demos" => [%{"x" => ^inner}]}}} = State.to_wire(self: [demos: [%{x: inner}]])
    assert {:error, %{type: :value_duplicate_key}} = DSPex.MessagePack.encode(inner)
  end
end
