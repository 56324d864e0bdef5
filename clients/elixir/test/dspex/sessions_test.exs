defmodule DSPex.SessionsTest do
  @moduledoc "Sessions: the frames that go out, and what comes of the answers."
  use ExUnit.Case, async: true

  import DSPex.Asking

  alias DSPex.{Error, Page, Program, Session, Sessions, Token}
  alias DSPex.Sessions.{Record, Summary}

  @moduletag :capture_log

  @at_noon ~U[2024-02-29 12:00:00Z]
  @opened %{
    "session" => "s1",
    "program" => "qa",
    "version" => 2,
    "turn" => 0,
    "ttl_s" => 1.5,
    "created" => @at_noon
  }
  @handle %Session{id: "s1", program: %Program{id: "qa", version: 2}}

  test "opening looks a program up, and gives a handle", %{test: name} do
    answering(name, @opened)
    assert Sessions.open(name, "qa") == {:ok, @handle}
    assert asked() == {"session.open", %{"program" => "qa"}, %{}}

    program = Program.new("qa", tag: "stable")
    assert Sessions.open!(name, program, session: "s1", ttl: 1_500) == @handle
    meta = %{"program" => "qa", "tag" => "stable", "session" => "s1"}
    assert asked() == {"session.open", meta, %{"ttl_s" => 1.5}}
  end

  test "what predicts takes a session in the place of a program", %{test: name} do
    prediction = %DSPex.Tagged{tag: "prediction", value: %{"fields" => %{"answer" => "42"}}}
    answering(name, prediction)
    request = {"program.predict", %{"session" => "s1"}, %{"inputs" => %{"question" => "?"}}}
    assert DSPex.predict!(name, @handle, %{question: "?"}).answer == "42"
    assert asked() == request
    assert DSPex.await!(DSPex.async!(name, Session.new("s1"), %{question: "?"})).answer == "42"
    assert asked() == request
    assert Sessions.predict(name, "s1", question: "?") == {:ok, DSPex.Prediction.new(%{"answer" => "42"})}
    assert asked() == request
    assert Sessions.predict!(name, @handle, [question: "?"], lm: "fast").answer == "42"
    assert asked() == put_in(request, [Access.elem(2), "lm"], "fast")
  end

  test "a turn's number is in the prediction", %{test: name} do
    prediction = %DSPex.Tagged{tag: "prediction", value: %{"fields" => %{"answer" => "42"}}}
    meta = %{"session" => "s1", "turn" => 7, "program" => "qa", "version" => 2}
    DSPex.Instances.handled(name, fn _, _, _ -> {:reply, prediction, meta} end)
    assert Sessions.predict!(name, "s1", question: "?").meta == meta
  end

  test "turns stream", %{test: name} do
    me = self()

    DSPex.Instances.handled(name, fn method, _, meta ->
      send(me, {:asked, method, Map.take(meta, ["session", "program"])})
      {:stream, ["4", "2"], %{"answer" => "42"}}
    end)

    for stream <- [Sessions.stream(name, "s1", question: "?"), DSPex.stream(name, @handle, question: "?")] do
      assert [%Token{text: "4"}, %Token{text: "2"}, %{answer: "42"}] = Enum.to_list(stream)
      assert_received {:asked, "program.predict", %{"session" => "s1"} = meta} when map_size(meta) == 1
    end
  end

  test "getting gives the past, which is not printed", %{test: name} do
    turns = [%{"question" => "my secret?", "answer" => "Hush."}]
    more = %{"turn" => 1, "history" => turns, "state" => nil, "worker" => 3}
    answering(name, Map.merge(@opened, more))
    assert {:ok, %Record{} = record} = Sessions.get(name, @handle)
    assert asked() == {"session.get", %{"session" => "s1"}, %{}}
    assert {record.session, record.program, record.turn} == {@handle, @handle.program, 1}
    assert {record.ttl, record.created, record.worker} == {1_500, @at_noon, 3}
    assert {record.history, record.state} == {turns, nil}
    refute inspect(record, limit: :infinity) =~ "secret"
    assert inspect(record) == "#DSPex.Sessions.Record<s1 with qa version 2, turn 1>"
    assert Sessions.get!(name, "s1") == record
  end

  test "listing gives pages, and a stream of all", %{test: name} do
    page = fn
      %{"after" => "s1"} -> %{"sessions" => [%{@opened | "session" => "s2"}], "next" => nil}
      _ -> %{"sessions" => [@opened], "next" => "s1"}
    end

    answering(name, page)
    assert {:ok, %Page{entries: [summary], next: "s1"}} = Sessions.list(name, prefix: "s", limit: 1)
    assert asked() == {"session.list", %{}, %{"prefix" => "s", "limit" => 1}}

    assert summary == %Summary{
             session: @handle,
             program: @handle.program,
             turn: 0,
             ttl: 1_500,
             created: @at_noon
           }

    assert Sessions.list!(name, after: "s1").next == nil
    assert name |> Sessions.stream() |> Enum.map(& &1.session.id) == ["s1", "s2"]
    assert name |> Sessions.stream(limit: 1) |> Enum.take(1) == [summary]
  end

  test "forking names the source, and maybe the new one", %{test: name} do
    answering(name, %{@opened | "session" => "s2"})
    assert {:ok, %Session{id: "s2", program: %Program{id: "qa", version: 2}}} = Sessions.fork(name, @handle)
    assert asked() == {"session.fork", %{"session" => "s1"}, %{}}
    assert Sessions.fork!(name, "s1", session: :s2, ttl: 1_000).id == "s2"
    assert asked() == {"session.fork", %{"session" => "s1"}, %{"session" => "s2", "ttl_s" => 1.0}}
  end

  test "closing and migrating are done or not", %{test: name} do
    answering(name, nil)
    assert Sessions.close(name, @handle) == :ok
    assert asked() == {"session.close", %{"session" => "s1"}, %{}}
    assert Sessions.migrate(name, @handle, 3) == :ok
    assert asked() == {"state.migrate", %{"session" => "s1"}, %{"worker" => 3}}
    assert {Sessions.close!(name, "s1"), Sessions.migrate!(name, "s1", 3)} == {:ok, :ok}
  end

  test "a session that another server has may be tried again later", %{test: name} do
    answering(name, Error.new(:session_busy, "elsewhere", retry_after_ms: 250))

    assert {:error, %Error{type: :session_busy, retryable?: true, retry_after_ms: 250}} =
             Sessions.predict(name, "s1", question: "?")

    for ask <- [&Sessions.open!/2, &Sessions.get!/2, &Sessions.fork!/2, &Sessions.close!/2],
        do: assert_raise(Error, fn -> ask.(name, "s1") end)

    assert_raise Error, fn -> Sessions.migrate!(name, "s1", 1) end
    assert_raise Error, fn -> Sessions.predict!(name, "s1", question: "?") end
    assert_raise Error, fn -> Enum.to_list(Sessions.stream(name, "s1", question: "?")) end
  end

  test "mistakes are told by field, before anything is sent", %{test: name} do
    answering(name, nil)

    for bad <- ["", "a\nb", nil, :s1, {"Predict", "a -> b"}, %Session{id: 3}] do
      assert mistake(Sessions.predict(name, bad, question: "?")) == "session"

      for ask <- [&Sessions.get/2, &Sessions.close/2, &Sessions.fork/2],
          do: assert(mistake(ask.(name, bad)) == "session")

      assert_raise Error, ~r/session/, fn -> Enum.to_list(Sessions.stream(name, bad, question: "?")) end
    end

    assert mistake(Sessions.open(name, 3)) == "program"

    for bad <- [0, 999, 1.5, "1", 31_536_000_001],
        do: assert(mistake(Sessions.open(name, "qa", ttl: bad)) == "ttl")

    assert mistake(Sessions.fork(name, "s1", session: "")) == "session"
    for bad <- [0, "1", nil], do: assert(mistake(Sessions.migrate(name, "s1", bad)) == "worker")
    assert mistake(Sessions.open(name, "qa", write_id: "w")) == "write_id"
    assert mistake(Sessions.list(name, sort: :created)) == "sort"
  end
end
