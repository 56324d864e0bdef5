defmodule DSPex.StoredSessionsTest do
  @moduledoc "Sessions with the real server: their history outlives calls, workers and servers."
  use ExUnit.Case, async: false

  import DSPex.Servers

  alias DSPex.{Error, Program, Programs, Session, Sessions, Token}
  alias DSPex.PythonBridge.StateManager

  @moduletag :server
  @moduletag :capture_log
  @moduletag timeout: 120_000

  @chat {"Predict", "history: history, question: str -> answer: str"}

  setup_all do
    dspex = stored(__MODULE__.DSPex, "memory")
    Programs.create!(dspex, @chat, program: "chat")
    %{dspex: dspex}
  end

  setup %{dspex: dspex, test: test} do
    id = String.slice(Atom.to_string(test), 0, 100)
    %{session: Sessions.open!(dspex, "chat", session: id)}
  end

  # Each answer tells all questions so far.
  defp turn(dspex, session, number), do: DSPex.predict!(dspex, session, %{question: "q#{number}"})
  defp all_up_to(number), do: Enum.map_join(1..number, " ", &"q#{&1}")

  test "each turn knows the turns before it", %{dspex: dspex, session: session} do
    assert %Session{program: %Program{id: "chat", version: 1}} = session

    for number <- 1..5 do
      prediction = turn(dspex, session, number)
      assert prediction.answer == all_up_to(number)
      assert {prediction.meta["session"], prediction.meta["turn"]} == {session.id, number}
    end

    assert {:ok, record} = Sessions.get(dspex, session)
    assert {record.turn, record.ttl, record.program} == {5, 86_400_000, session.program}
    assert List.last(record.history) == %{"question" => "q5", "answer" => all_up_to(5)}
    assert length(record.history) == 5
    refute inspect(record, limit: :infinity) =~ "q1"
  end

  test "a worker that is killed after each turn takes nothing with it", %{dspex: dspex, session: session} do
    for number <- 1..8 do
      assert turn(dspex, session, number).answer == all_up_to(number)
      for pid <- worker_pids(dspex), do: kill(pid)
    end

    assert Sessions.get!(dspex, session).turn == 8
  end

  test "a worker that is killed in the middle of a turn loses none and doubles none", context do
    %{dspex: dspex, session: session} = context

    predictions =
      for number <- 1..10 do
        # Its model is no function of ours: such a turn may be made again.
        {:ok, call} = DSPex.async(dspex, session, %{question: "q#{number}"}, lm: "steady")
        kill(wait_for(fn -> busy_pid(dspex) end))
        assert {:ok, prediction} = DSPex.await(call)
        prediction
      end

    assert Enum.map(predictions, & &1.meta["turn"]) == Enum.to_list(1..10)
    # On a busy machine one or the other was hit before it had begun.
    assert Enum.any?(predictions, &(&1.meta["attempt"] > 1))
    assert %{turn: 10, history: history} = Sessions.get!(dspex, session)
    assert Enum.map(history, & &1["question"]) == for(number <- 1..10, do: "q#{number}")
  end

  defp busy_pid(dspex) do
    Enum.find_value(DSPex.info!(dspex)["workers"], &(&1["calls"] == 1 && &1["pid"]))
  end

  test "turns of many processes are made one after another", %{dspex: dspex, session: session} do
    tasks = for number <- 1..20, do: Task.async(fn -> turn(dspex, session, number) end)
    predictions = Task.await_many(tasks, 60_000)
    assert predictions |> Enum.map(& &1.meta["turn"]) |> Enum.sort() == Enum.to_list(1..20)

    for prediction <- predictions,
        do: assert(length(String.split(prediction.answer)) == prediction.meta["turn"])
  end

  test "a turn streams, and one that is halted leaves the session as it was", context do
    %{dspex: dspex, session: session} = context
    prediction = dspex |> Sessions.stream(session.id, question: "q1") |> Enum.to_list() |> List.last()
    assert {prediction.answer, prediction.meta["turn"]} == {"q1", 1}
    halted = DSPex.stream(dspex, session, %{question: "q0"}, lm: "streaming")
    assert %Token{} = Enum.find(halted, &is_struct(&1, Token))
    assert turn(dspex, session, 2).answer == "q1 q2"
    assert Sessions.get!(dspex, session).turn == 2
  end

  test "a turn that fails leaves the session as it was", %{dspex: dspex, session: session} do
    assert turn(dspex, session, 1).answer == "q1"
    assert {:error, %Error{}} = Sessions.predict(dspex, session, [question: "q0"], lm: "none")

    assert {:error, %Error{type: :invalid_argument}} =
             Sessions.predict(dspex, session, question: "q0", history: [])

    assert turn(dspex, session, 2).answer == "q1 q2"
  end

  test "a fork has the same past and a future of its own", %{dspex: dspex, session: session} do
    turn(dspex, session, 1)
    assert {:ok, %Session{} = fork} = Sessions.fork(dspex, session, ttl: 60_000)
    assert fork.id != session.id and fork.program == session.program
    assert DSPex.predict!(dspex, fork, %{question: "elsewhere"}).answer == "q1 elsewhere"
    assert turn(dspex, session, 2).answer == "q1 q2"
    assert Sessions.get!(dspex, fork).ttl == 60_000
    assert {:error, %Error{type: :session_exists}} = Sessions.fork(dspex, session, session: fork.id)
  end

  test "a session is had by the worker that it is moved to", %{dspex: dspex, session: session} do
    turn(dspex, session, 1)

    for number <- 2..5 do
      # Of those that serve now, the ones that it is not in.
      worker = wait_for(fn -> Enum.find(serving(dspex), &(&1 != Sessions.get!(dspex, session).worker)) end)
      assert StateManager.migrate_state(dspex, session, worker) == :ok
      prediction = turn(dspex, session, number)
      assert prediction.meta["worker"] == worker
      assert prediction.answer == all_up_to(number)
    end

    assert {:error, %Error{type: :invalid_argument}} = Sessions.migrate(dspex, session, 1_000_000)
  end

  defp serving(dspex),
    do:
      for(
        %{"state" => "ready", "worker" => number, "retiring" => nil} <- DSPex.info!(dspex)["workers"],
        do: number
      )

  test "recycled workers hand a session on", %{dspex: dspex, session: session} do
    for number <- 1..3 do
      assert turn(dspex, session, number).answer == all_up_to(number)
      gone = DSPex.recycle!(dspex, :all)
      wait_for(fn -> for(%{"worker" => it} <- DSPex.info!(dspex)["workers"], it in gone, do: it) == [] end)
    end

    assert turn(dspex, session, 4).answer == all_up_to(4)
  end

  test "one that is closed, or has had its time, is not known", %{dspex: dspex, session: session} do
    turn(dspex, session, 1)
    assert Sessions.close(dspex, session) == :ok

    for ask <- [&Sessions.get/2, &Sessions.close/2, &Sessions.fork/2],
        do: assert_unknown(ask.(dspex, session))

    assert_unknown(Sessions.predict(dspex, session, question: "?"))
    short = Sessions.open!(dspex, "chat", ttl: 1_000)
    wait_for(fn -> match?({:error, %Error{type: :unknown_session}}, Sessions.get(dspex, short)) end)
  end

  defp assert_unknown(outcome), do: assert({:error, %Error{type: :unknown_session}} = outcome)

  test "sessions are listed a page at a time", %{dspex: dspex, session: session} do
    for number <- 1..3, do: Sessions.open!(dspex, "chat", session: "#{session.id} #{number}")
    listed = dspex |> Sessions.stream(prefix: session.id, limit: 2) |> Enum.map(&{&1.session.id, &1.turn})
    assert listed == [{session.id, 0} | for(number <- 1..3, do: {"#{session.id} #{number}", 0})]
    assert {:error, %Error{type: :session_exists}} = Sessions.open(dspex, "chat", session: session.id)
  end

  test "a session stays with its version", %{dspex: dspex, session: session} do
    id = session.id
    Programs.create!(dspex, @chat, program: id, tags: ["stable"])
    old = Sessions.open!(dspex, Program.new(id, tag: "stable"))
    Programs.update!(dspex, id, [state: [self: [instructions: "Be brief."]]], tags: ["stable"])
    assert turn(dspex, old, 1).meta["version"] == 1
    new = Sessions.open!(dspex, Program.new(id, tag: "stable"))
    assert turn(dspex, new, 1).meta["version"] == 2
    assert {:error, %Error{type: :unknown_program}} = Sessions.open(dspex, Program.new(id, 9))
  end

  describe "with a store in a file" do
    @describetag :tmp_dir

    setup %{tmp_dir: folder} do
      %{store: "sqlite:" <> Path.join(folder, "dspex.db")}
    end

    test "programs and sessions are there after the server has ended", %{store: store} do
      first = stored(__MODULE__.First, store)
      Programs.create!(first, @chat, program: "chat", note: "before")
      session = Sessions.open!(first, "chat")
      assert turn(first, session, 1).answer == "q1"
      :ok = DSPex.stop(first)
      second = stored(__MODULE__.Second, store)
      assert Programs.get!(second, "chat").lineage.note == "before"
      assert turn(second, session, 2).answer == "q1 q2"
      :ok = DSPex.stop(second)
    end

    test "a server that is killed after each turn takes nothing with it", %{store: store} do
      dspex = stored(__MODULE__.Killed, store)
      Programs.create!(dspex, @chat, program: "chat")
      session = Sessions.open!(dspex, "chat")

      for number <- 1..2 do
        {:ok, prediction} = patient(fn -> DSPex.predict(dspex, session, %{question: "q#{number}"}) end)
        assert {prediction.answer, prediction.meta["turn"]} == {all_up_to(number), number}
        kill_server(dspex)
      end

      assert {:ok, %{turn: 2}} = patient(fn -> Sessions.get(dspex, session) end)
      DSPex.stop(dspex)
    end

    test "of two servers one makes the turns, and the other says when to come back", %{store: store} do
      [one, other] = [stored(__MODULE__.One, store), stored(__MODULE__.Other, store)]
      Programs.create!(one, @chat, program: "chat")
      session = Sessions.open!(one, "chat")
      assert turn(one, session, 1).answer == "q1"

      assert {:error, %Error{type: :session_busy, retryable?: true, retry_after_ms: wait}} =
               Sessions.predict(other, session, question: "q2")

      assert wait > 0
      assert Sessions.get!(other, session).turn == 1
      assert {:ok, prediction} = patient(fn -> Sessions.predict(other, session, question: "q2") end)
      assert {prediction.answer, prediction.meta["turn"]} == {"q1 q2", 2}
      for name <- [one, other], do: DSPex.stop(name)
    end

    test "writes that are lost with their server are made once", %{store: store} do
      dspex = stored(__MODULE__.Writing, store)
      Programs.create!(dspex, @chat, program: "chat")
      counts = %{written: :counters.new(1, []), lost: :counters.new(1, [])}
      killer = Task.async(fn -> for kill <- 1..4, do: kill_after(dspex, counts.written, 5 * kill) end)
      versions = write_while(fn -> Process.alive?(killer.pid) end, dspex, counts, [])
      Task.await(killer)
      assert :counters.get(counts.lost, 1) > 0
      assert versions == Enum.to_list(2..(length(versions) + 1))
      assert Programs.get!(dspex, "chat").newest == List.last(versions)
      DSPex.stop(dspex)
    end

    # While the next write is made.
    defp kill_after(dspex, written, count) do
      wait_for(fn -> :counters.get(written, 1) >= count end, 6_000)
      kill_server(dspex)
    end

    defp write_while(go_on?, dspex, counts, versions) do
      change = [state: [self: [instructions: "number #{length(versions)}"]]]
      {:ok, %{version: version}} = surely(dspex, change, [], counts.lost)
      :counters.add(counts.written, 1, 1)
      versions = [version | versions]
      if go_on?.(), do: write_while(go_on?, dspex, counts, versions), else: Enum.reverse(versions)
    end

    # As the moduledoc of DSPex.Programs says.
    defp surely(dspex, changes, options, lost) do
      case Programs.update(dspex, "chat", changes, options) do
        {:error, %Error{retryable?: true, details: %{"write_id" => write_id}} = error} ->
          :counters.add(lost, 1, 1)
          Process.sleep(error.retry_after_ms || 1)
          surely(dspex, changes, [write_id: write_id], lost)

        outcome ->
          outcome
      end
    end
  end
end
