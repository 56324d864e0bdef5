defmodule DSPex.StoredProgramsTest do
  @moduledoc "Stored programs with the real server: versions, tags, documents, and writes that are made twice."
  use ExUnit.Case, async: false

  import DSPex.Servers

  alias DSPex.{Error, Page, Program, Programs}
  alias DSPex.PythonBridge.StateManager

  @moduletag :server
  @moduletag :capture_log
  @moduletag timeout: 120_000

  @qa {"Predict", "question -> answer"}
  @demo %{"question" => "Is water wet?", "answer" => "Yes"}
  @learned [self: [instructions: "Be brief.", demos: [[question: "Is water wet?", answer: "Yes"]]]]

  setup_all do
    %{dspex: stored(__MODULE__.DSPex, "memory")}
  end

  # An id for each test, as all share one store.
  setup %{test: test} do
    %{id: String.slice(Atom.to_string(test), 0, 100)}
  end

  defp ask(dspex, program), do: DSPex.predict!(dspex, program, %{question: "Why?"})

  test "a program is created with what it has learned, and says it to its model", context do
    %{dspex: dspex, id: id} = context
    options = [program: id, state: @learned, note: "from the tests", tags: [:stable]]
    assert {:ok, %Program{id: ^id, version: 1} = program} = Programs.create(dspex, @qa, options)
    record = Programs.get!(dspex, id)
    assert {record.program, record.newest, record.tags} == {program, 1, ["stable"]}
    assert %{parent: nil, by: "create", note: "from the tests"} = record.lineage
    assert %{"self" => %{"instructions" => "Be brief.", "demos" => [demo]}} = record.state
    assert fields(demo) == @demo
    assert %DateTime{} = record.created
    assert ask(dspex, program).answer == "Is water wet? Why?"
    refute inspect(record, limit: :infinity) =~ "water"
  end

  defp fields(%DSPex.Tagged{tag: "example", value: %{"fields" => fields}}), do: fields
  defp fields(fields), do: fields

  test "what is stored makes an equal copy", %{dspex: dspex, id: id} do
    Programs.create!(dspex, {:chain_of_thought, "question -> answer"}, program: id)
    record = Programs.get!(dspex, id)
    copy = Programs.create!(dspex, record.spec, state: record.state)
    assert Programs.get!(dspex, copy).spec == record.spec
    assert Programs.get!(dspex, copy).state == record.state
  end

  test "an update is a new version, and the old one stays as it was", %{dspex: dspex, id: id} do
    first = Programs.create!(dspex, @qa, program: id, state: @learned)
    demos = [[question: "Is fire cold?", answer: "No"]]
    assert {:ok, %Program{version: 2} = second} = Programs.update(dspex, first, state: [self: [demos: demos]])
    assert Programs.get!(dspex, second).state["self"]["instructions"] == "Be brief."
    assert ask(dspex, first).answer == "Is water wet? Why?"
    assert %{answer: "Is fire cold? Why?", meta: %{"version" => 2}} = ask(dspex, id)
  end

  test "of two that update the same version, the second is told", %{dspex: dspex, id: id} do
    first = Programs.create!(dspex, @qa, program: id)
    change = [state: [self: [instructions: "Be brief."]]]
    assert {:ok, _second} = Programs.update(dspex, first, change)
    assert {:error, %Error{type: :version_conflict, details: details}} = Programs.update(dspex, first, change)
    assert details["newest"] == 2
    assert {:ok, %Program{version: 3}} = Programs.update(dspex, id, change)
    assert {:error, %Error{type: :version_conflict}} = Programs.rollback(dspex, first, 1)
  end

  test "64 callers while it is updated: none sees what was there before the answer", context do
    %{dspex: dspex, id: id} = context
    Programs.create!(dspex, @qa, program: id)

    callers =
      for _ <- 1..64 do
        Task.async(fn -> for _ <- 1..5, do: ask(dspex, id).meta["version"] end)
      end

    %Program{version: 2} = Programs.update!(dspex, id, state: [self: [instructions: "Be brief."]])
    assert ask(dspex, id).meta["version"] == 2
    seen = Task.await_many(callers, 60_000)
    # Of one caller, once the new one, always the new one.
    for versions <- seen, do: assert(versions == Enum.sort(versions))
  end

  test "a version is brought back as a new one; differences say where", %{dspex: dspex, id: id} do
    Programs.create!(dspex, @qa, program: id)
    Programs.update!(dspex, id, [state: @learned], note: "learned")
    assert {:ok, changes} = Programs.diff(dspex, id, {1, 2})
    paths = Map.new(changes, &{&1.path, &1.change})
    assert paths["state.self.instructions"] == :changed
    assert Enum.any?(paths, fn {path, change} -> path =~ "state.self.demos" and change == :added end)
    assert {:ok, %Program{version: 3}} = Programs.rollback(dspex, id, 1, note: "it was worse")
    assert Programs.diff!(dspex, id, {1, 3}) == []
    assert %{by: "rollback", note: "it was worse"} = Programs.get!(dspex, id).lineage
  end

  test "versions are listed a page at a time, the newest first", %{dspex: dspex, id: id} do
    Programs.create!(dspex, @qa, program: id, tags: ["first"])
    for number <- 2..5, do: Programs.update!(dspex, id, [], note: "number #{number}")
    assert {:ok, %Page{entries: newest, next: next}} = Programs.versions(dspex, id, limit: 3)
    assert Enum.map(newest, & &1.program.version) == [5, 4, 3]
    assert hd(newest).lineage.note == "number 5" and hd(newest).lineage.parent == 4
    assert %Page{entries: oldest, next: nil} = Programs.versions!(dspex, id, before: next)
    assert Enum.map(oldest, &{&1.program.version, &1.tags}) == [{2, []}, {1, ["first"]}]
  end

  test "a tag is followed wherever it goes", %{dspex: dspex, id: id} do
    first = Programs.create!(dspex, @qa, program: id, tags: ["stable"])
    second = Programs.update!(dspex, first, state: [self: [instructions: "Be brief."]])
    stable = Program.new(id, tag: "stable")
    assert ask(dspex, stable).meta["version"] == 1
    assert Programs.tag(dspex, second, :stable) == :ok
    assert ask(dspex, stable).meta["version"] == 2
    assert Programs.get!(dspex, stable).program == second
    assert Programs.untag(dspex, id, "stable") == :ok
    assert {:error, %Error{type: :unknown_program}} = DSPex.predict(dspex, stable, %{question: "?"})
  end

  test "documents carry a program to another id, with all of its versions", %{dspex: dspex, id: id} do
    Programs.create!(dspex, @qa, program: id, state: @learned)
    Programs.update!(dspex, id, state: [self: [instructions: "Be kind."]])
    assert {:ok, document} = Programs.export(dspex, id, versions: :all)
    copy = id <> " copy"
    assert {:ok, %Program{id: ^copy}} = Programs.import(dspex, document, program: copy)
    assert Programs.get!(dspex, copy).state == Programs.get!(dspex, id).state
    assert Programs.get!(dspex, Program.new(copy, 1)).state["self"]["instructions"] == "Be brief."
    # Where it is already, a document of one version is a new version.
    one = Programs.export!(dspex, Program.new(id, 1))
    assert {:ok, %Program{id: ^id, version: 3}} = Programs.import(dspex, one)
  end

  test "DSPy's own form goes out and in", %{dspex: dspex, id: id} do
    Programs.create!(dspex, @qa, program: id, state: @learned)
    document = Programs.export!(dspex, id, format: :dspy)
    assert {:ok, program} = Programs.import(dspex, document, format: :dspy, spec: @qa, program: id <> " copy")
    assert ask(dspex, program).answer == "Is water wet? Why?"

    assert {:error, %Error{type: :invalid_argument, details: %{"field" => "spec"}}} =
             Programs.import(dspex, document, format: :dspy)
  end

  test "a write that is made again with its write_id happens once", %{dspex: dspex, id: id} do
    create = fn options -> Programs.create(dspex, @qa, [program: id, write_id: id] ++ options) end
    assert {:ok, program} = create.(note: "one")
    assert create.(note: "one") == {:ok, program}
    assert {:error, %Error{type: :write_id_reused} = error} = create.(note: "two")
    assert error.details["write_id"] == id
    update = fn -> Programs.update(dspex, program, [state: @learned], write_id: id <> " 2") end
    assert {update.(), update.()} == {{:ok, Program.new(id, 2)}, {:ok, Program.new(id, 2)}}
    assert Programs.get!(dspex, id).newest == 2
  end

  test "a write of which no answer came is made once, whether it had happened or not", context do
    %{dspex: dspex, id: id} = context
    Programs.create!(dspex, @qa, program: id)

    outcomes =
      for timeout <- 1..30 do
        change = [state: [self: [instructions: "number #{timeout}"]]]

        with {:error, %Error{type: :deadline, details: %{"write_id" => write_id}}} <-
               Programs.update(dspex, id, change, timeout: timeout),
             do: Programs.update(dspex, id, change, write_id: write_id)
      end

    versions = for {:ok, program} <- outcomes, do: program.version
    assert versions == Enum.to_list(2..31)
    assert Programs.get!(dspex, id).newest == 31
  end

  test "a write that is said not to have happened has not happened", %{dspex: dspex, id: id} do
    # So many that each is in somebody's way.
    ids = for number <- 1..32, do: Programs.create!(dspex, @qa, program: "#{id} #{number}").id
    tasks = Enum.map(ids, &Task.async(fn -> hurried(dspex, &1) end))
    outcomes = tasks |> Task.await_many(60_000) |> Enum.concat()
    made = Enum.count(outcomes, &match?({:ok, _}, &1))
    maybe = Enum.count(outcomes, &match?({:error, %Error{maybe_executed?: true}}, &1))
    stored = ids |> Enum.map(&(Programs.get!(dspex, &1).newest - 1)) |> Enum.sum()
    assert stored in made..(made + maybe)
  end

  # Updates whose time is over at any moment of them.
  defp hurried(dspex, id) do
    for round <- 1..3, timeout <- 1..15 do
      change = [state: [self: [instructions: "#{round}, #{timeout}"]]]
      Programs.update(dspex, id, change, timeout: timeout)
    end
  end

  test "programs are listed by page, chosen and ordered", %{dspex: dspex, id: id} do
    for number <- 1..5, do: Programs.create!(dspex, @qa, program: "#{id} #{number}")
    Programs.create!(dspex, {:chain_of_thought, "question -> answer"}, program: "#{id} 6", tags: ["stable"])

    numbers = fn options ->
      dspex |> Programs.stream([prefix: id <> " "] ++ options) |> Enum.map(&String.last(&1.program.id))
    end

    assert numbers.(limit: 2) == ~w(1 2 3 4 5 6)
    assert numbers.(limit: 4, sort: :created, descending: true) == ~w(6 5 4 3 2 1)
    assert numbers.(module: :chain_of_thought) == ["6"]
    assert numbers.(tag: "stable") == ["6"]
    Programs.update!(dspex, "#{id} 2", state: @learned)
    assert List.last(numbers.(sort: :updated)) == "2"
    assert Program.new("#{id} 2", 2) in DSPex.list!(dspex)
  end

  test "a number is never used again, also after the program was deleted", %{dspex: dspex, id: id} do
    Programs.create!(dspex, @qa, program: id)
    %Program{version: 2} = Programs.update!(dspex, id, state: @learned)
    assert Programs.delete(dspex, id) == :ok
    assert {:error, %Error{type: :unknown_program}} = Programs.get(dspex, id)

    assert {:error, %Error{type: :unknown_program}} =
             DSPex.predict(dspex, Program.new(id, 1), %{question: "?"})

    assert {:ok, %Program{version: 3}} = Programs.create(dspex, @qa, program: id)
  end

  test "mistakes are told by their place in the call", %{dspex: dspex, id: id} do
    other = [other: [instructions: "Be brief."]]
    assert {:error, %Error{type: :invalid_argument} = error} = Programs.create(dspex, @qa, state: other)
    assert error.details["field"] =~ "state"
    Programs.create!(dspex, @qa, program: id)
    assert {:error, %Error{type: :program_exists}} = Programs.create(dspex, @qa, program: id)
    assert {:error, %Error{type: :unknown_program}} = Programs.update(dspex, id <> " none", [])
    assert {:error, %Error{}} = Programs.diff(dspex, id, {1, 9})
    assert {:error, %Error{type: :invalid_argument}} = Programs.import(dspex, "no document")
  end

  test "the state manager stores and loads", %{dspex: dspex, id: id} do
    assert {:ok, %Program{version: 1} = program} = StateManager.store_program(dspex, @qa, program: id)
    assert {:ok, %Program{version: 2}} = StateManager.store_program(dspex, program, state: @learned)
    assert {:ok, record} = StateManager.load_program(dspex, id)
    assert record.newest == 2 and record.state["self"]["instructions"] == "Be brief."
  end
end
