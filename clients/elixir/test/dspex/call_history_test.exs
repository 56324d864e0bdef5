defmodule DSPex.CallHistoryTest do
  @moduledoc "What is kept of calls: the frames that go out, and what comes of the answers."
  use ExUnit.Case, async: true

  import DSPex.Asking

  alias DSPex.{CallHistory, Program, Session, Tagged}

  @moduletag :capture_log

  @call %{"number" => 7, "requests" => []}
  @answer %{"level" => "redacted", "calls" => [@call], "next" => 7}

  test "all calls, or those of a program, session, worker or tenant", %{test: name} do
    answering(name, @answer)

    assert DSPex.history(name) == {:ok, %CallHistory{level: "redacted", calls: [@call], next: 7}}
    assert asked() == {"program.history", %{}, %{}}
    assert DSPex.history!(name, program: "qa", limit: 5, before: 7).next == 7
    assert asked() == {"program.history", %{"program" => "qa"}, %{"limit" => 5, "before" => 7}}
    DSPex.history!(name, program: Program.new("qa", 3), tenant: "shop")
    assert asked() == {"program.history", %{"program" => "qa", "version" => 3, "tenant" => "shop"}, %{}}
    DSPex.history!(name, session: Session.new("s"), worker: 2)
    assert asked() == {"program.history", %{"session" => "s"}, %{"worker" => 2}}
  end

  test "mistakes are found before anything is sent", %{test: name} do
    answering(name, @answer)
    assert mistake(DSPex.history(name, program: Program.new("qa", tag: "stable"))) == "program.tag"
    assert mistake(DSPex.history(name, program: 3)) == "program"
    assert mistake(DSPex.history(name, session: 3)) == "session"
    assert mistake(DSPex.history(name, worker: :all)) == "worker"
    assert mistake(DSPex.history(name, limit: 0)) == "limit"
    assert mistake(DSPex.history(name, text: true)) == "text"
    assert mistake(DSPex.history(name, :all)) == "options"
  end

  test "a call says whether its requests are kept, and has them with its prediction", %{test: name} do
    request = %{"model" => "sim/one"}
    prediction = %{"fields" => %{"answer" => "yes"}, "requests" => [request]}
    answering(name, %Tagged{tag: "prediction", value: prediction})
    assert DSPex.predict!(name, "qa", %{}, history: true).requests == [request]
    assert {"program.predict", _, %{"history" => true}} = asked()
    DSPex.predict!(name, "qa", %{}, history: false)
    assert {"program.predict", _, %{"history" => false}} = asked()
    DSPex.predict!(name, "qa", %{})
    assert {"program.predict", _, payload} = asked()
    refute is_map_key(payload, "history")
    assert mistake(DSPex.predict(name, "qa", %{}, history: :texts)) == "history"
  end
end
