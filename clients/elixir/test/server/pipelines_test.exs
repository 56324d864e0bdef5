defmodule DSPex.PipelinesTest do
  @moduledoc "Pipelines and programs as parts of programs, with the real server."
  use ExUnit.Case, async: false

  import DSPex.Servers

  alias DSPex.{Program, Programs}

  @moduletag :server
  @moduletag :capture_log
  @moduletag timeout: 120_000

  @nodes [
    search: {:chain_of_thought, "question -> facts: list[str]"},
    name: {:predict, "question -> title"},
    write: {:predict, "context: list[str], words: int -> text"}
  ]
  @options [
    nodes: @nodes,
    wires: [write: [context: "search.facts", words: {:value, 50}]],
    outputs: [answer: "write.text"]
  ]
  @digest {:pipeline, "question -> answer, title", @options}
  @qa {:predict, "question -> answer"}

  setup_all do
    name = __MODULE__.DSPex

    start_supervised!(
      {DSPex, name |> options("memory", []) |> Keyword.put(:lms, %{default: "sim/pipelines"})}
    )

    DSPex.echo!(name, nil, timeout: 60_000)
    %{dspex: name}
  end

  setup %{test: test} do
    %{id: String.slice(Atom.to_string(test), 0, 100)}
  end

  defp composed(part),
    do: {:pipeline, "question -> ok: bool", nodes: [ask: part, check: {:predict, "answer -> ok: bool"}]}

  test "a pipeline predicts, by its spec and stored", %{dspex: dspex, id: id} do
    prediction = DSPex.predict!(dspex, @digest, %{question: "Why?"}, trace: true)
    assert is_binary(prediction.answer) and is_binary(prediction.title)
    assert prediction.usage["lm_calls"] == 3

    assert prediction.trace |> Enum.map(& &1["predictor"]) |> Enum.sort() == [
             "name",
             "search.predict",
             "write"
           ]

    program = Programs.create!(dspex, @digest, program: id)
    again = DSPex.predict!(dspex, program, %{question: "Why?"})
    assert {again.answer, again.title} == {prediction.answer, prediction.title}
  end

  test "its tokens come under the names of its nodes", %{dspex: dspex} do
    written =
      dspex
      |> DSPex.stream(@digest, %{question: "Why?"})
      |> Enum.reduce(%{}, fn
        %DSPex.Token{} = token, texts ->
          Map.update(texts, {token.predictor, token.field}, token.text, &(&1 <> token.text))

        %DSPex.Prediction{} = prediction, texts ->
          Map.put(texts, :prediction, prediction)

        _status, texts ->
          texts
      end)

    assert written[{"write", "text"}] == written.prediction.answer
    assert written[{"name", "title"}] == written.prediction.title
    assert is_binary(written[{"search.predict", "reasoning"}])
  end

  test "what it learns is kept by node", %{dspex: dspex, id: id} do
    program = Programs.create!(dspex, @digest, program: id, state: %{"name" => [instructions: "Be short."]})
    next = Programs.update!(dspex, program, state: %{"search.predict" => [instructions: "Look well."]})
    state = Programs.get!(dspex, next).state

    assert {state["name"]["instructions"], state["search.predict"]["instructions"]} ==
             {"Be short.", "Look well."}
  end

  test "what does not fit together is told when it is made", %{dspex: dspex} do
    for {options, field, told} <- [
          {[nodes: [n: {:predict, "q, r -> a"}]], "wires.n.r", "one of q"},
          {[nodes: [n: {:predict, "q: int -> a"}]], "wires.n.q", "of the type int, got q, of str"},
          {[nodes: [n: {:predict, "q, x -> a"}, m: {:predict, "a -> x"}]], "nodes", "m -> n -> m"},
          {[nodes: [n: {:predict, "q -> a"}], wires: [m: [q: "q"]]], "wires.m", "one of the nodes n"}
        ] do
      assert {:error, error} = DSPex.create(dspex, {:pipeline, "q -> a", options})
      assert {error.type, error.details["field"]} == {:invalid_argument, "spec.options." <> field}
      assert error.message =~ told
    end
  end

  test "a stored program is copied in with what it has learned", %{dspex: dspex, id: id} do
    part = Programs.create!(dspex, @qa, program: id <> " part", state: [self: [instructions: "One."]])
    whole = Programs.create!(dspex, composed(Program.new(part.id)), program: id)
    Programs.update!(dspex, part, state: [self: [instructions: "Two."]])
    record = Programs.get!(dspex, whole)
    assert record.state["ask"]["instructions"] == "One."
    assert record.spec.options["nodes"]["ask"]["origin"] == %{"program" => part.id, "version" => 1}
    next = Programs.update!(dspex, whole, spec: composed(Program.new(part.id)))
    assert Programs.get!(dspex, next).state["ask"]["instructions"] == "Two."
    assert :ok = Programs.delete(dspex, part)
    assert DSPex.predict!(dspex, whole, %{question: "Why?"}).ok in [true, false]
    copy = Programs.create!(dspex, record.spec, state: record.state)
    assert Programs.get!(dspex, copy).spec == record.spec
  end

  test "a program that is not there is told by the node", %{dspex: dspex} do
    assert {:error, error} = DSPex.create(dspex, composed(Program.new("gone", 3)))
    assert {error.type, error.details["field"]} == {:unknown_program, "spec.options.nodes.ask.program"}
    assert error.message =~ "gone"
  end
end
