defmodule DSPex.ServerTest do
  @moduledoc "The real `dspex serve`, with its offline models, end to end."
  use ExUnit.Case, async: false

  alias DSPex.{Error, Prediction, Program, Token}

  @moduletag :server
  @moduletag :capture_log
  @moduletag timeout: 120_000

  @signature "question -> answer"
  @slow %{model: "sim/slow", options: %{latency_ms: 20_000}}
  @steady %{model: "sim/steady", options: %{latency_ms: 50}}
  @streaming %{model: "sim/streaming", options: %{latency_ms: 10, tokens_per_s: 100}}

  defmodule City do
    use DSPex.Signature, instructions: "Describe the city."

    signature([city: :string],
      people: {:integer, ge: 1, le: 9},
      sea: :boolean,
      kind: {:enum, ["big", "small"]}
    )
  end

  setup_all do
    name = __MODULE__.DSPex
    start_supervised!({DSPex, options(name)})
    {:ok, _} = DSPex.echo(name, nil, timeout: 60_000)
    %{dspex: name}
  end

  defp options(name) do
    me = self()

    [
      name: name,
      command: OptionParser.split(System.fetch_env!("DSPEX_COMMAND")),
      lms: %{
        default: "sim/default",
        slow: @slow,
        steady: @steady,
        streaming: @streaming,
        host: "host/model",
        agent: "host/agent",
        vectors: [model: "host/embed", model_type: "embedding"]
      },
      functions: %{
        "model" => fn args, callback -> model(name, me, args, callback) end,
        "agent" => fn args, _callback -> agent(args) end,
        "forward" => fn %{"question" => question}, _callback -> forward(name, question) end,
        "find" => fn %{"query" => query, "k" => k}, _callback -> for(n <- 1..k, do: "#{query} #{n}") end,
        "embed" => fn %{"texts" => texts}, _callback -> Enum.map(texts, &letters/1) end,
        "lookup" => fn %{"key" => key}, _callback -> "the value of #{key}" end,
        "length" => fn %{"prediction" => prediction}, _callback -> String.length(prediction.answer) end
      },
      timeout: 60_000
    ]
  end

  # A vector of a text: how often it has each letter.
  defp letters(text), do: for(letter <- ?a..?z, do: text |> to_charlist() |> Enum.count(&(&1 == letter)))

  defp forward(name, question) do
    draft = DSPex.predict_part!(name, :draft, question: question)
    %{answer: draft.answer, good: DSPex.predict_part!(name, "check", %{answer: draft.answer}).good}
  end

  # A language model in Elixir. What it does is said by the question.
  defp model(name, _me, %{"messages" => messages}, _callback) do
    text = messages |> List.last() |> Map.fetch!("content")

    cond do
      text =~ "please fail" -> raise ArgumentError, "no such city"
      text =~ "please nest" -> answer(DSPex.predict!(name, {"Predict", @signature}, question: "inner").answer)
      true -> %{text: answer("from Elixir"), tokens_in: 3, tokens_out: 2}
    end
  end

  # One that looks something up, says that it is done, and answers with what it was told.
  defp agent(%{"messages" => [%{"content" => system} | _] = messages}) do
    seen = List.last(messages)["content"] =~ "the value of k"

    cond do
      not (system =~ "next_tool_name") ->
        turn(reasoning: "seen", answer: "it is #{if seen, do: "known", else: "not"}")

      seen ->
        turn(next_thought: "done", next_tool_name: "finish", next_tool_args: "{}")

      true ->
        turn(next_thought: "look", next_tool_name: "lookup", next_tool_args: ~s({"key": "k"}))
    end
  end

  defp turn(fields),
    do:
      Enum.map_join(fields ++ [completed: ""], "\n\n", fn {name, text} -> "[[ ## #{name} ## ]]\n#{text}" end)

  defp answer(text), do: "[[ ## answer ## ]]\n#{text}\n\n[[ ## completed ## ]]"

  test "values of every kind pass through a worker unchanged", %{dspex: dspex} do
    value = %{
      "text" => "ü☃",
      "bytes" => DSPex.Binary.new(<<0, 255>>),
      "numbers" => [1, -1, 1.5, Integer.pow(2, 80), :infinity],
      "times" => [~D[2024-02-29], ~N[2024-02-29 12:00:00.000001], ~U[2024-02-29 12:00:00Z]],
      "tuple" => {1, 2},
      "duration" => DSPex.Tagged.duration(-1_500_000),
      "uuid" => elem(DSPex.Tagged.uuid("00112233-4455-6677-8899-aabbccddeeff"), 1),
      "tensor" => DSPex.Tensor.from_floats([1.0, 2.0])
    }

    assert DSPex.ping(dspex, value) == {:ok, value}
    assert DSPex.echo(dspex, value) == {:ok, value}
  end

  test "an agent's tools are functions of this node", %{dspex: dspex} do
    tools = [[name: "lookup", desc: "Looks a key up.", args: %{key: %{type: "string"}}]]
    program = {:react, @signature, tools: tools, max_iters: 3}
    assert {:ok, prediction} = DSPex.predict(dspex, program, %{question: "k?"}, lm: "agent")
    assert prediction.answer == "it is known"
    assert prediction.trajectory["observation_0"] == "the value of k"
  end

  test "a reward of this node chooses among attempts", %{dspex: dspex} do
    part = {:predict, @signature}
    options = [module: part, N: 2, reward_fn: "length", threshold: 1_000_000]
    assert {:ok, prediction} = DSPex.predict(dspex, {:best_of_n, nil, options}, %{question: "?"}, lm: "host")
    assert prediction.answer == "from Elixir"
    assert {:ok, _} = DSPex.predict(dspex, {:majority, nil, module: part, N: 3}, %{question: "?"})
  end

  test "a module's forward is a function of this node, and calls parts by name", %{dspex: dspex} do
    parts = %{draft: {:predict, @signature}, check: {:chain_of_thought, "answer -> good: bool"}}
    program = {:host, "question -> answer, good: bool", forward: "forward", parts: parts}
    assert {:ok, prediction} = DSPex.predict(dspex, program, %{question: "?"}, trace: true)
    assert is_binary(prediction.answer) and is_boolean(prediction.good)
    assert Enum.map(prediction.trace, & &1["predictor"]) == ["draft", "check.predict"]

    assert {:error, %{type: :function_failed, message: message}} =
             DSPex.predict(dspex, {:host, "question -> score: int", forward: "forward", parts: parts},
               question: "?"
             )

    assert message =~ "expected one of the fields score"

    assert {:error, %{details: %{"field" => "meta.parent"}}} =
             DSPex.predict_part(dspex, :draft, question: "?")
  end

  test "a function of this node finds passages", %{dspex: dspex} do
    program = {:retrieve, nil, function: "find", k: 2}
    assert DSPex.predict!(dspex, program, query: "pipes").passages == ["pipes 1", "pipes 2"]

    assert {:error, %{type: :unknown_function}} =
             DSPex.predict(dspex, program, %{query: "?"}, retriever: "seek")
  end

  test "the nearest examples are found by vectors of this node", %{dspex: dspex} do
    trainset = [
      %{question: "zzz?", answer: "z"},
      DSPex.Example.new(%{question: "yyy?", answer: "y"}, inputs: [:question]),
      %{question: "zyy?", answer: "zy"}
    ]

    for vectorizer <- ["vectors", %{function: "embed"}] do
      program = {:knn, @signature, k: 2, trainset: trainset, vectorizer: vectorizer}
      prediction = DSPex.predict!(dspex, program, question: "yyyy!")

      assert prediction.examples == [
               %{"question" => "yyy?", "answer" => "y"},
               %{"question" => "zyy?", "answer" => "zy"}
             ]
    end

    program = {:knn, @signature, k: 2, trainset: [%{question: 3, answer: "z"}], vectorizer: "vectors"}

    assert {:error, %{type: :invalid_argument, details: %{"field" => "spec.options.trainset[0].question"}}} =
             DSPex.predict(dspex, program, question: "?")
  end

  test "a tool that this node does not offer is named", %{dspex: dspex} do
    program = {:react, @signature, tools: [[name: "launch"]]}

    assert {:error, %{type: :unknown_function, message: message}} =
             DSPex.predict(dspex, program, %{question: "?"})

    assert message =~ "agent, embed, find, forward, length, lookup, model"
  end

  test "one-shot predictions give whole predictions", %{dspex: dspex} do
    assert {:ok, prediction} = DSPex.predict(dspex, {"Predict", @signature}, %{question: "Why?"})
    assert is_binary(prediction.answer)
    assert {:ok, again} = DSPex.predict(dspex, {"Predict", @signature}, %{question: "Why?"})
    assert again.answer == prediction.answer
    assert prediction.meta["worker"] >= 1
  end

  test "a typed signature gives typed values, with reasoning", %{dspex: dspex} do
    assert {:ok, prediction} = DSPex.predict(dspex, {:chain_of_thought, City}, city: "Oslo")
    assert prediction.people in 1..9
    assert is_boolean(prediction.sea)
    assert prediction.kind in ["big", "small"]
    assert is_binary(prediction.reasoning)
  end

  test "stored programs are created, used, listed and deleted", %{dspex: dspex} do
    assert {:ok, %Program{id: "qa", version: 1} = program} =
             DSPex.create(dspex, {"Predict", @signature}, program: "qa")

    assert {:error, %Error{type: :program_exists}} =
             DSPex.create(dspex, {"Predict", @signature}, program: "qa")

    assert {:ok, prediction} = DSPex.predict(dspex, program, question: "Why?")
    assert is_binary(prediction.answer)
    assert program in DSPex.list!(dspex)
    assert %DSPex.Programs.Record{program: ^program} = DSPex.get!(dspex, program)
    assert DSPex.delete(dspex, program) == :ok
    assert {:error, %Error{type: :unknown_program}} = DSPex.predict(dspex, program, question: "Why?")
  end

  test "mistakes are told by field", %{dspex: dspex} do
    assert {:error, %Error{type: :invalid_argument}} =
             DSPex.predict(dspex, {"Predict", "a -> b: nonsense"}, a: 1)

    assert {:error, %Error{type: :invalid_argument}} =
             DSPex.predict(dspex, {"NoModule", @signature}, question: "?")

    assert {:error, %Error{type: :unknown_lm}} =
             DSPex.predict(dspex, {"Predict", @signature}, %{question: "?"}, lm: "none")

    assert {:error, %Error{type: :unknown_method}} = DSPex.call(dspex, "no.method", %{})
  end

  test "200 predictions at once are all answered, each its own", %{dspex: dspex} do
    one = fn number ->
      DSPex.predict!(dspex, {"Predict", @signature}, %{question: "number #{number}"}).answer
    end

    alone = Map.new(1..5, &{&1, one.(&1)})

    together =
      1..200
      |> Task.async_stream(&{&1, one.(&1)}, max_concurrency: 200, timeout: 60_000)
      |> Enum.map(&elem(&1, 1))

    assert length(together) == 200
    for {number, answer} <- together, number <= 5, do: assert(alone[number] == answer)
  end

  test "tokens come before the whole prediction", %{dspex: dspex} do
    elements =
      dspex |> DSPex.stream({"Predict", @signature}, %{question: "Why?"}, lm: "streaming") |> Enum.to_list()

    tokens = for %Token{field: "answer", text: text} <- elements, do: text
    assert tokens != []
    last = List.last(elements)
    assert is_struct(last, Prediction)
    assert String.trim(Enum.join(tokens)) == last.answer
  end

  test "a list grows member by member, and an agent's tools are told", %{dspex: dspex} do
    signature = "question -> tags: list[str], count: int"
    values = DSPex.stream(dspex, {"Predict", signature}, %{question: "?"}, lm: "streaming", events: [:value])
    {values, [prediction]} = values |> Enum.to_list() |> Enum.split(-1)
    assert [_ | _] = tags = for(%DSPex.PartialValue{field: "tags"} = value <- values, do: value)
    assert List.last(tags).last? and List.last(tags).value == prediction.tags
    assert for(%{field: "count", last?: true, value: count} <- values, do: count) == [prediction.count]

    program = {:react, @signature, tools: [[name: "lookup", args: %{key: %{type: "string"}}]], max_iters: 3}
    options = [lm: "agent", events: [:tool_arguments]]
    events = dspex |> DSPex.stream(program, %{question: "k?"}, options) |> Enum.drop(-1)
    assert [started, ended | _finish] = events
    assert started == %DSPex.ToolEvent{event: "start", name: "lookup", call: 1, arguments: %{"key" => "k"}}
    assert ended == %DSPex.ToolEvent{event: "end", name: "lookup", call: 1, outcome: "ok"}
  end

  test "an Elixir function is the language model", %{dspex: dspex} do
    assert DSPex.predict!(dspex, {"Predict", @signature}, %{question: "hello"}, lm: "host").answer ==
             "from Elixir"
  end

  test "within an Elixir function predictions can be made", %{dspex: dspex} do
    assert {:ok, prediction} =
             DSPex.predict(dspex, {"Predict", @signature}, %{question: "please nest"}, lm: "host")

    assert is_binary(prediction.answer)
  end

  test "an Elixir function that raises fails the prediction", %{dspex: dspex} do
    assert {:error, %Error{fault: :program} = error} =
             DSPex.predict(dspex, {"Predict", @signature}, %{question: "please fail"}, lm: "host")

    assert error.message =~ "no such city"
  end

  test "a deadline is kept", %{dspex: dspex} do
    assert {:error, %Error{type: :deadline}} =
             DSPex.predict(dspex, {"Predict", @signature}, %{question: "?"}, lm: "slow", timeout: 200)
  end

  test "a call can be cancelled", %{dspex: dspex} do
    {:ok, call} = DSPex.async(dspex, {"Predict", @signature}, %{question: "?"}, lm: "slow")
    :ok = DSPex.cancel(call)
    assert {:error, %Error{type: :cancelled}} = DSPex.await(call)
  end

  test "a caller that dies leaves nothing running", %{dspex: dspex} do
    pid = spawn(fn -> DSPex.predict(dspex, {"Predict", @signature}, %{question: "?"}, lm: "slow") end)
    wait_until(fn -> open_calls(dspex) == 1 end)
    Process.exit(pid, :kill)
    wait_until(fn -> open_calls(dspex) == 0 end)
  end

  # As the workers count them: their `calls` in system.info.
  defp open_calls(dspex) do
    dspex |> DSPex.info!() |> Map.fetch!("workers") |> Enum.map(&(&1["calls"] || 0)) |> Enum.sum()
  end

  test "workers may die while 200 predictions are under way", %{dspex: dspex} do
    predict = fn number ->
      DSPex.predict(dspex, {"Predict", @signature}, %{question: "#{number}"}, lm: "steady")
    end

    tasks = for number <- 1..200, do: Task.async(fn -> predict.(number) end)
    [%{"pid" => pid} | _] = DSPex.info!(dspex)["workers"]
    {_, 0} = System.cmd("kill", ["-KILL", "#{pid}"])
    assert Enum.count(Task.await_many(tasks, 60_000), &match?({:ok, _}, &1)) == 200
  end

  test "a server that is killed fails open calls once, and another takes over", %{dspex: dspex} do
    {:ok, call} = DSPex.async(dspex, {"Predict", @signature}, %{question: "?"}, lm: "slow")
    {:ok, wire} = DSPex.OpenCalls.wire(dspex)
    {:os_pid, os_pid} = Port.info(wire.handle, :os_pid)
    {_, 0} = System.cmd("kill", ["-KILL", "#{os_pid}"])
    assert {:error, %Error{type: :connection_lost}} = DSPex.await(call)
    assert {:ok, %{answer: _}} = DSPex.predict(dspex, {"Predict", @signature}, question: "Why?")
  end

  test "stopping leaves no process behind" do
    name = __MODULE__.Stopped
    start_supervised!({DSPex, [name: name] ++ Keyword.delete(options(name), :name)})
    workers = for %{"pid" => pid} <- (DSPex.echo!(name, 1) && DSPex.info!(name))["workers"], do: pid
    assert workers != []
    DSPex.stop(name)
    wait_until(fn -> Enum.all?(workers, &(not File.exists?("/proc/#{&1}"))) end)
  end

  defp wait_until(condition, tries \\ 500) do
    cond do
      condition.() -> :ok
      tries == 0 -> flunk("it did not come to pass in 5 s")
      true -> Process.sleep(10) && wait_until(condition, tries - 1)
    end
  end
end
