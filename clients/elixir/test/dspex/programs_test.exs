defmodule DSPex.ProgramsTest do
  @moduledoc "Stored programs: the frames that go out, and what comes of the answers."
  use ExUnit.Case, async: true

  import DSPex.Asking

  alias DSPex.{Error, Page, Program, Programs, Signature, Spec, Tagged}
  alias DSPex.Programs.{Change, Record, Summary, Version}

  @moduletag :capture_log

  @spec_map %{"module" => "Predict", "signature" => "question -> answer", "options" => %{}}
  @made %{"program" => "qa", "version" => 4}
  @at_noon ~U[2024-02-29 12:00:00Z]

  describe "creating" do
    test "sends spec, state, note and tags, and gives the handle", %{test: name} do
      answering(name, @made)
      state = %{self: [demos: [%{question: "Wet?", answer: "Yes"}], instructions: "Be brief."]}
      options = [program: :qa, state: state, tags: [:stable, "v1"], note: "first"]

      assert Programs.create(name, {:predict, "question -> answer"}, options) ==
               {:ok, %Program{id: "qa", version: 4}}

      demo = %{"question" => "Wet?", "answer" => "Yes"}

      assert asked() ==
               {"program.create", %{"program" => "qa"},
                %{
                  "spec" => @spec_map,
                  "state" => %{"self" => %{"demos" => [demo], "instructions" => "Be brief."}},
                  "tags" => ["stable", "v1"],
                  "note" => "first"
                }}
    end

    test "needs only a spec, and is the same by its shorter name", %{test: name} do
      answering(name, @made)
      assert Programs.create!(name, {"Predict", "question -> answer"}) == Program.new("qa", 4)
      assert asked() == {"program.create", %{}, %{"spec" => @spec_map}}
      assert DSPex.create!(name, {"Predict", "question -> answer"}) == Program.new("qa", 4)
      assert asked() == {"program.create", %{}, %{"spec" => @spec_map}}
    end
  end

  describe "updating" do
    test "with an id is made to the newest, with a handle only to that version", %{test: name} do
      answering(name, @made)
      patch = [state: [self: [instructions: "Be brief."]]]
      payload = %{"state" => %{"self" => %{"instructions" => "Be brief."}}}
      assert Programs.update(name, "qa", patch) == {:ok, Program.new("qa", 4)}
      assert asked() == {"program.update", %{"program" => "qa"}, payload}
      assert Programs.update!(name, Program.new("qa", 3), Map.new(patch), note: "n", tags: ["t"])
      more = %{"note" => "n", "tags" => ["t"]}
      assert asked() == {"program.update", %{"program" => "qa", "version" => 3}, Map.merge(payload, more)}
    end

    test "takes another spec", %{test: name} do
      answering(name, @made)
      assert {:ok, _} = Programs.update(name, "qa", spec: {"Predict", "question -> answer"})
      assert asked() == {"program.update", %{"program" => "qa"}, %{"spec" => @spec_map}}
    end

    test "tells who was faster", %{test: name} do
      answering(name, Error.new(:version_conflict, "version 5 is newer", details: %{"newest" => 5}))

      assert {:error, %Error{type: :version_conflict, retryable?: false, details: %{"newest" => 5}}} =
               Programs.update(name, Program.new("qa", 4), [])

      assert_raise Error, ~r/version_conflict/, fn -> Programs.update!(name, Program.new("qa", 4), []) end
    end
  end

  test "rolling back names the version to bring back, and the newest that it knows", %{test: name} do
    answering(name, @made)
    assert Programs.rollback(name, "qa", 1, note: "worse") == {:ok, Program.new("qa", 4)}
    assert asked() == {"program.rollback", %{"program" => "qa", "version" => 1}, %{"note" => "worse"}}
    assert Programs.rollback!(name, Program.new("qa", 3), 1) == Program.new("qa", 4)
    assert asked() == {"program.rollback", %{"program" => "qa", "version" => 1}, %{"newest" => 3}}
  end

  test "tags are set on a version and taken from a program", %{test: name} do
    answering(name, nil)
    assert Programs.tag(name, Program.new("qa", 3), :stable) == :ok
    assert asked() == {"program.tag", %{"program" => "qa", "version" => 3}, %{"tag" => "stable"}}
    assert Programs.untag(name, Program.new("qa", 3), "stable") == :ok
    assert asked() == {"program.untag", %{"program" => "qa"}, %{"tag" => "stable"}}
    assert {Programs.tag!(name, Program.new("qa", 3), "a"), Programs.untag!(name, "qa", "a")} == {:ok, :ok}
  end

  test "deleting is of the whole program", %{test: name} do
    answering(name, nil)
    assert Programs.delete(name, Program.new("qa", 3)) == :ok
    assert asked() == {"program.delete", %{"program" => "qa"}, %{}}
    assert {DSPex.delete(name, "qa"), DSPex.delete!(name, "qa")} == {:ok, :ok}
  end

  describe "a write" do
    test "has an id of its own each time, unless it is given", %{test: name} do
      answering(name, nil)
      for _ <- 1..2, do: Programs.delete(name, "qa")
      [first, second] = for _ <- 1..2, do: asked_write_id()
      assert first != second and byte_size(first) == 22
      Programs.delete(name, "qa", write_id: "job-7")
      assert asked_write_id() == "job-7"
    end

    test "that fails says its id, so that it can be made again as the same", %{test: name} do
      answering(name, Error.new(:store_unavailable, "no answer", maybe_executed?: true, retry_after_ms: 50))
      assert {:error, error} = Programs.update(name, "qa", state: [self: [demos: []]])
      assert %Error{retryable?: true, maybe_executed?: true, retry_after_ms: 50} = error
      write_id = error.details["write_id"]
      assert asked_write_id() == write_id
      assert {:error, _} = Programs.update(name, "qa", [state: [self: [demos: []]]], write_id: write_id)
      assert asked_write_id() == write_id
    end

    test "whose server is lost says its id too", %{test: name} do
      DSPex.Instances.controlled(name)
      task = Task.async(fn -> Programs.create(name, {"Predict", "question -> answer"}) end)
      assert_receive {DSPex.Test, server, %{kind: :call, meta: %{"write_id" => write_id}}, _payload}
      DSPex.Test.exit(server)

      assert {:error, %Error{type: :connection_lost, maybe_executed?: true, details: details}} =
               Task.await(task)

      assert details["write_id"] == write_id
    end

    test "every one of them has one", %{test: name} do
      answering(name, @made)
      Programs.create(name, {"Predict", "question -> answer"})
      Programs.update(name, "qa", [])
      Programs.rollback(name, "qa", 1)
      Programs.tag(name, Program.new("qa", 1), "t")
      Programs.untag(name, "qa", "t")
      Programs.import(name, "{}")
      Programs.delete(name, "qa")
      assert length(Enum.uniq(for _ <- 1..7, do: asked_write_id())) == 7
    end
  end

  describe "getting" do
    @answer %{
      "program" => "qa",
      "version" => 2,
      "newest" => 3,
      "spec" => %{
        "module" => "Predict",
        "signature" => %{
          "name" => "Signature",
          "instructions" => "Answer.",
          "inputs" => [%{"name" => "question", "type" => "str"}],
          "outputs" => [%{"name" => "answer", "type" => "str"}]
        },
        "options" => %{"n" => 2}
      },
      "state" => %{
        "self" => %{"demos" => [%Tagged{tag: "example", value: %{"fields" => %{"question" => "my secret"}}}]}
      },
      "lineage" => %{"parent" => 1, "by" => "update", "note" => "shorter", "scores" => %{"f1" => 0.5}},
      "tags" => ["stable"],
      "dspy" => "3.1",
      "schema" => 1,
      "checksum" => "f00",
      "created" => @at_noon
    }

    test "gives a version with all that is known of it", %{test: name} do
      answering(name, @answer)
      assert {:ok, %Record{} = record} = Programs.get(name, Program.new("qa", tag: "stable"))
      assert asked() == {"program.get", %{"program" => "qa", "tag" => "stable"}, %{}}
      assert {record.program, record.newest, record.tags} == {Program.new("qa", 2), 3, ["stable"]}
      assert record.lineage == %{parent: 1, by: "update", note: "shorter", scores: %{"f1" => 0.5}}

      assert {record.dspy, record.schema, record.checksum, record.created} == {"3.1", 1, "f00", @at_noon}
      assert DSPex.get!(name, "qa") == record
      assert Programs.get!(name, "qa") == record
    end

    test "what it gives makes a copy", %{test: name} do
      answering(name, @answer)
      record = Programs.get!(name, "qa")
      _ = asked()
      assert %Spec{module: "Predict", signature: %Signature{instructions: "Answer."}} = record.spec
      assert {:ok, _} = Programs.create(name, record.spec, state: record.state)
      assert {"program.create", %{}, %{"spec" => spec, "state" => state}} = asked()
      assert {spec, state} == {@answer["spec"], @answer["state"]}
    end

    test "shows no demo when it is printed", %{test: name} do
      answering(name, @answer)
      text = inspect(Programs.get!(name, "qa"), limit: :infinity)
      refute text =~ "my secret"
      assert text =~ "qa version 2" and text =~ "stable" and text =~ ~s("self" => 1)
    end

    test "keeps a spec of a form that is not known", %{test: name} do
      spec = %{"module" => "Predict", "signature" => %{"later" => 1}, "options" => %{}}
      answering(name, %{@answer | "spec" => spec})
      assert Programs.get!(name, "qa").spec == spec
    end

    test "of something else than a map is an error", %{test: name} do
      answering(name, 3)
      assert {:error, %Error{type: :internal, message: message}} = Programs.get(name, "qa")
      assert message =~ "3 came"
    end
  end

  describe "listing" do
    defp row(number), do: %{"program" => "p#{number}", "version" => number}

    # Two rows a page, five in all.
    defp pages(%{"after" => "p2"}), do: %{"programs" => [row(3), row(4)], "next" => "p4"}
    defp pages(%{"after" => "p4"}), do: %{"programs" => [row(5)], "next" => nil}
    defp pages(_first), do: %{"programs" => [row(1), row(2)], "next" => "p2"}

    test "gives a page, chosen and ordered", %{test: name} do
      more = %{
        "module" => "Predict",
        "tags" => %{"stable" => 1},
        "created" => @at_noon,
        "updated" => @at_noon
      }

      answering(name, %{"programs" => [Map.merge(row(1), more)], "next" => "p1", "unreadable" => ["broken"]})
      choice = [prefix: "p", tag: :stable, module: :chain_of_thought]
      order = [sort: :updated, descending: true, limit: 1, after: "p0"]

      assert {:ok, %Page{entries: [summary], next: "p1", unreadable: ["broken"]}} =
               Programs.list(name, choice ++ order)

      assert summary == %Summary{
               program: Program.new("p1", 1),
               module: "Predict",
               tags: %{"stable" => 1},
               created: @at_noon,
               updated: @at_noon
             }

      assert asked() ==
               {"program.list", %{},
                %{
                  "prefix" => "p",
                  "tag" => "stable",
                  "module" => "ChainOfThought",
                  "sort" => "updated",
                  "descending" => true,
                  "limit" => 1,
                  "after" => "p0"
                }}
    end

    test "a stream asks for a page when it is wanted", %{test: name} do
      answering(name, &pages/1)
      assert name |> Programs.stream(limit: 2) |> Enum.take(1) |> Enum.map(& &1.program.id) == ["p1"]
      assert asked() == {"program.list", %{}, %{"limit" => 2}}
      refute_received {:asked, _, _, _}
      assert name |> Programs.stream() |> Enum.map(& &1.program.version) == [1, 2, 3, 4, 5]
    end

    test "the shorter name gives all handles", %{test: name} do
      answering(name, &pages/1)
      assert {:ok, programs} = DSPex.list(name)
      assert programs == for(number <- 1..5, do: Program.new("p#{number}", number))
      assert DSPex.list!(name, prefix: "p") == programs
      assert %Page{entries: [_, _], next: "p2", unreadable: []} = Programs.list!(name)
    end

    test "a page that cannot be had ends a stream", %{test: name} do
      answering(name, Error.new(:store_unavailable, "down"))
      assert_raise Error, fn -> Enum.to_list(Programs.stream(name)) end
      assert {:error, %Error{type: :store_unavailable}} = DSPex.list(name)
      assert_raise Error, fn -> DSPex.list!(name) end
    end
  end

  test "versions come with their lineage, the newest first", %{test: name} do
    lineage = %{"parent" => nil, "by" => "create", "note" => nil}
    sound = %{"version" => 2, "lineage" => lineage, "tags" => ["stable"], "created" => @at_noon}
    answering(name, %{"versions" => [sound, %{"version" => 1, "problem" => "damaged"}], "next" => 1})

    assert {:ok, %Page{entries: [second, first], next: 1} = page} =
             Programs.versions(name, Program.new("qa", 2), limit: 2, before: 3)

    assert asked() == {"program.versions", %{"program" => "qa"}, %{"limit" => 2, "before" => 3}}
    assert %Version{program: %Program{id: "qa", version: 2}, tags: ["stable"], created: @at_noon} = second
    assert second.lineage == %{parent: nil, by: "create", note: nil, scores: %{}}
    assert %Version{program: %Program{version: 1}, problem: "damaged", lineage: nil, tags: []} = first
    assert Programs.versions!(name, "qa", before: nil) == page
  end

  test "differences say where, and show no text when they are printed", %{test: name} do
    changes = [
      %{"path" => "state.self.demos[0]", "change" => "added", "after" => %{"question" => "my secret"}},
      %{"path" => "state.self.instructions", "change" => "changed", "before" => "a", "after" => "b"},
      %{"path" => "spec.options.n", "change" => "later"}
    ]

    answering(name, %{"program" => "qa", "old" => 1, "new" => 2, "changes" => changes})
    assert {:ok, [added, changed, unknown]} = Programs.diff(name, Program.new("qa", 9), {1, 2})
    assert asked() == {"program.diff", %{"program" => "qa"}, %{"old" => 1, "new" => 2}}
    assert {added.change, added.before, added.after["question"]} == {:added, nil, "my secret"}
    assert %Change{path: "state.self.instructions", change: :changed, before: "a", after: "b"} = changed
    assert unknown.change == nil
    assert inspect(Programs.diff!(name, "qa", {1, 2})) =~ "#DSPex.Programs.Change<state.self.demos[0] added>"
    refute inspect(added, limit: :infinity) =~ "secret"
  end

  test "documents go out and in", %{test: name} do
    answering(name, Map.put(@made, "document", "{}"))
    assert Programs.export(name, Program.new("qa", 3), format: :dspy) == {:ok, "{}"}
    assert asked() == {"program.export", %{"program" => "qa", "version" => 3}, %{"format" => "dspy"}}
    assert Programs.export!(name, "qa", versions: :all) == "{}"
    assert asked() == {"program.export", %{"program" => "qa"}, %{"versions" => "all"}}
    assert Programs.import(name, "{}", program: "copy", note: "n") == {:ok, Program.new("qa", 4)}
    assert asked() == {"program.import", %{"program" => "copy"}, %{"document" => "{}", "note" => "n"}}
    assert Programs.import!(name, "{}", format: :dspy, spec: {"Predict", "question -> answer"})
    assert asked() == {"program.import", %{}, %{"document" => "{}", "format" => "dspy", "spec" => @spec_map}}
  end

  test "predictions may name a version or a tag", %{test: name} do
    answering(name, Error.new(:unknown_program, "none"))

    for {program, meta} <- [
          {"qa", %{"program" => "qa"}},
          {Program.new("qa", 3), %{"program" => "qa", "version" => 3}},
          {Program.new("qa", version: 3), %{"program" => "qa", "version" => 3}},
          {Program.new("qa", tag: :stable), %{"program" => "qa", "tag" => "stable"}}
        ] do
      assert {:error, %{type: :unknown_program}} = DSPex.predict(name, program, %{question: "?"})
      assert asked() == {"program.predict", meta, %{"inputs" => %{"question" => "?"}}}
    end
  end

  describe "mistakes are told by field, before anything is sent:" do
    @program_spec {"Predict", "question -> answer"}

    test "in the handle", %{test: name} do
      answering(name, @made)
      long = String.duplicate("a", 129)

      for bad <- ["", long, "a\nb", <<255>>, :qa, nil, %Program{id: 3}],
          ask <- [&Programs.get/2, &Programs.delete/2, &Programs.versions/2, &Programs.export/2],
          do: assert(mistake(ask.(name, bad)) == "program")

      assert mistake(DSPex.predict(name, "", %{})) == "program"
      assert mistake(Programs.get(name, %Program{id: "qa", version: 0})) == "program.version"
      assert mistake(Programs.get(name, %Program{id: "qa", version: 1, tag: "t"})) == "program.tag"
      assert mistake(Programs.get(name, Program.new("qa", tag: String.duplicate("a", 65)))) == "program.tag"
    end

    test "in what is written", %{test: name} do
      answering(name, @made)
      stable = Program.new("qa", tag: "stable")
      assert mistake(Programs.update(name, stable, [])) == "program.tag"
      assert mistake(Programs.rollback(name, stable, 1)) == "program.tag"
      assert mistake(Programs.rollback(name, "qa", 0)) == "version"
      assert mistake(Programs.tag(name, Program.new("qa"), "t")) == "program.version"
      for bad <- ["", "a\tb", 3, nil], do: assert(mistake(Programs.untag(name, "qa", bad)) == "tag")
      assert mistake(Programs.diff(name, "qa", 1..2)) == "versions"
      assert mistake(Programs.diff(name, "qa", {1, "2"})) == "new"
      assert mistake(Programs.update(name, "qa", note: "n")) == "changes.note"
      assert mistake(Programs.update(name, "qa", :none)) == "changes"
      assert mistake(Programs.import(name, %{})) == "document"
      assert mistake(Programs.create(name, 3)) == "spec"
      assert mistake(Programs.import(name, "{}", spec: "qa")) == "spec"
      assert mistake(Programs.create(name, {3, "question -> answer"})) == "module"
    end

    test "in options", %{test: name} do
      answering(name, @made)
      create = &Programs.create(name, @program_spec, &1)

      for option <- [
            program: "",
            tags: "t",
            tags: [""],
            note: 3,
            write_id: "a\0",
            write_id: nil,
            timeout: 0,
            tag: "t"
          ],
          do: assert(mistake(create.([option])) == to_string(elem(option, 0)))

      for option <- [
            limit: 0,
            limit: 1001,
            sort: :size,
            descending: 1,
            after: 3,
            prefix: nil,
            module: 3,
            before: 1
          ],
          do: assert(mistake(Programs.list(name, [option])) == to_string(elem(option, 0)))

      assert mistake(Programs.versions(name, "qa", before: 0)) == "before"
      assert mistake(Programs.export(name, "qa", format: :json)) == "format"
      assert mistake(Programs.export(name, "qa", versions: 3)) == "versions"
      assert mistake(Programs.get(name, "qa", write_id: "w")) == "write_id"
      assert mistake(Programs.delete(name, "qa", :none)) == "options"
      assert_raise Error, ~r/colour/, fn -> Enum.to_list(Programs.stream(name, colour: 1)) end
    end

    test "in a state, without what the examples say", %{test: name} do
      answering(name, @made)

      for {state, field} <- [
            {3, "state"},
            {[self: 3], "state.self"},
            {[self: [demo: []]], "state.self.demo"},
            {[self: [demos: %{}]], "state.self.demos"},
            {[self: [demos: ["my secret"]]], "state.self.demos[0]"},
            {[self: [train: [[a: 1], {"my secret"}]]], "state.self.train[1]"},
            {[self: [instructions: ["my secret"]]], "state.self.instructions"},
            {[self: [fields: [[prefix: "my secret"]]]], "state.self.fields[0]"},
            {[self: [fields: "my secret"]], "state.self.fields"},
            {%{{1} => %{}}, "state"},
            {%{:self => %{}, "self" => %{}}, "state"}
          ] do
        outcome = Programs.create(name, @program_spec, state: state)
        assert mistake(outcome) == field
        refute inspect(outcome, limit: :infinity) =~ "secret"
      end
    end
  end
end
