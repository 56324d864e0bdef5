defmodule DSPex.PythonBridge.StateManagerTest do
  @moduledoc "Three names for what others do: the same frames go out."
  use ExUnit.Case, async: true

  import DSPex.Asking

  alias DSPex.{Error, Program}
  alias DSPex.Programs.Record
  alias DSPex.PythonBridge.StateManager

  @moduletag :capture_log

  @made %{"program" => "qa", "version" => 1}
  @state [self: [instructions: "Be brief."]]

  test "storing a spec makes a program", %{test: name} do
    answering(name, @made)

    assert StateManager.store_program(name, {"Predict", "question -> answer"}, program: "qa") ==
             {:ok, Program.new("qa", 1)}

    assert {"program.create", %{"program" => "qa"}, %{"spec" => _}} = asked()
  end

  test "storing a program makes a version", %{test: name} do
    answering(name, @made)
    payload = %{"state" => %{"self" => %{"instructions" => "Be brief."}}, "note" => "n"}
    assert StateManager.store_program!(name, "qa", state: @state, note: "n") == Program.new("qa", 1)
    assert asked() == {"program.update", %{"program" => "qa"}, payload}
    assert {:ok, _} = StateManager.store_program(name, Program.new("qa", 3), state: @state, note: "n")
    assert asked() == {"program.update", %{"program" => "qa", "version" => 3}, payload}
    assert mistake(StateManager.store_program(name, "qa", :none)) == "options"
  end

  test "loading gives the record", %{test: name} do
    answering(name, @made)
    assert {:ok, %Record{program: program} = record} = StateManager.load_program(name, Program.new("qa", 1))
    assert program == Program.new("qa", 1)
    assert asked() == {"program.get", %{"program" => "qa", "version" => 1}, %{}}
    assert StateManager.load_program!(name, "qa") == record
  end

  test "migrating names session and worker", %{test: name} do
    answering(name, nil)

    assert {StateManager.migrate_state(name, "s1", 3), StateManager.migrate_state!(name, "s1", 3)} ==
             {:ok, :ok}

    assert asked() == {"state.migrate", %{"session" => "s1"}, %{"worker" => 3}}
  end

  test "what the server refuses is an error, or raised", %{test: name} do
    answering(name, Error.new(:unknown_program, "none"))
    assert {:error, %Error{type: :unknown_program}} = StateManager.load_program(name, "qa")
    assert_raise Error, fn -> StateManager.load_program!(name, "qa") end
    assert_raise Error, fn -> StateManager.store_program!(name, "qa", state: @state) end
  end
end
