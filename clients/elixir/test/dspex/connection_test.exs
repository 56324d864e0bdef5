defmodule DSPex.ConnectionTest do
  @moduledoc "Calls against a server that the test plays: each has one outcome, whatever happens."
  use ExUnit.Case, async: true

  import DSPex.Instances

  alias DSPex.{Envelope, Error, Tagged, Test}

  @moduletag :capture_log

  defp prediction(fields), do: %Tagged{tag: "prediction", value: %{"fields" => fields}}

  defp in_task(function), do: Task.async(function)

  # What awaiting another's call raises.
  defp awaiting(call), do: in_task(fn -> catch_error(DSPex.await(call)) end)

  # Until only the counter, the wire and the time-out are left.
  defp settled(connection, table, tries) do
    :sys.get_state(connection)

    if :ets.info(table, :size) > 3 do
      if tries == 0, do: flunk("rows are left: #{inspect(:ets.tab2list(table))}")
      Process.sleep(1)
      settled(connection, table, tries - 1)
    end
  end

  describe "handshake" do
    test "says who we are and what we offer", %{test: name} do
      controlled(name,
        functions: %{"f" => &Function.identity/1},
        lms: %{default: "sim/default"},
        secrets: %{"k" => "v"}
      )

      assert_receive {Test, :hello, hello}

      assert %{"protocol" => "dspex", "versions" => [1], "functions" => ["f"], "secrets" => %{"k" => "v"}} =
               hello

      assert hello["lms"] == %{"default" => %{"model" => "sim/default"}}
      assert hello["client"] =~ "dspex-elixir/"
    end

    test "says on whose behalf, where that is told", %{test: name} do
      controlled(Module.concat(name, "Told"), tenant: :web, tenants: %{web: 3, jobs: 1})
      assert_receive {Test, :hello, %{"tenant" => "web", "tenants" => %{"web" => 3, "jobs" => 1}}}
      controlled(Module.concat(name, "Untold"))
      assert_receive {Test, :hello, hello}
      refute is_map_key(hello, "tenant") or is_map_key(hello, "tenants")
    end

    test "a refusal is what calls get, without waiting", %{test: name} do
      refusal = Error.new(:handshake_failed, "no common version")
      controlled(name, [], welcome: refusal)
      assert {:error, %{type: :handshake_failed}} = DSPex.ping(name, nil, timeout: 5_000)
    end

    test "an answer that is not ours is refused", %{test: name} do
      controlled(name, [], welcome: %{"protocol" => "http"})
      assert {:error, %{type: :handshake_failed}} = DSPex.ping(name, nil, timeout: 5_000)
    end

    test "a server that says nothing is replaced, and callers wait only their own time", %{test: name} do
      controlled(name, [handshake_timeout: 20], welcome: :silence)
      assert_receive {Test, :hello, _}
      assert_receive {Test, :hello, _}
      assert {:error, %{type: :unavailable, retryable?: true}} = DSPex.ping(name, nil, timeout: 300)
    end

    test "a command that is not there is told at once", %{test: name} do
      start_supervised!({DSPex, name: name, command: ["no-such-program-anywhere"]})
      assert {:error, %{type: :unavailable, message: message}} = DSPex.ping(name, nil, timeout: 5_000)
      assert message =~ "no-such-program-anywhere"
    end

    test "without an instance calls say so" do
      assert {:error, %{type: :unavailable, message: message}} = DSPex.ping(NotStarted)
      assert message =~ "NotStarted"
    end
  end

  describe "a call" do
    test "carries method, payload and meta, and ends with its reply", %{test: name} do
      controlled(name)

      options = [
        lm: "fast",
        adapter: {:two_step, extraction_model: :small},
        on_violation: {:retry, 2},
        config: [n: 2],
        lane: :batch,
        priority: 7,
        tenant: "t",
        timeout: 9_000
      ]

      task = in_task(fn -> DSPex.predict(name, DSPex.Program.new("qa", 3), %{question: "?"}, options) end)
      {server, envelope, payload} = receive_frame(:call)

      assert payload == %{
               "inputs" => %{"question" => "?"},
               "lm" => "fast",
               "adapter" => %{"name" => "two_step", "options" => %{"extraction_model" => "small"}},
               "on_violation" => %{"retry" => 2},
               "config" => %{"n" => 2}
             }

      assert %{"program" => "qa", "version" => 3, "lane" => "batch", "priority" => 7, "tenant" => "t"} =
               envelope.meta

      assert envelope.method == "program.predict"
      assert envelope.meta["deadline_ms"] in 1..9_000

      Test.send_frame(server, :reply, envelope.id, nil, %{"worker" => 2}, prediction(%{"answer" => "42"}))
      assert {:ok, %{answer: "42", meta: %{"worker" => 2}}} = Task.await(task)
    end

    test "that fails gives the server's error", %{test: name} do
      controlled(name)
      task = in_task(fn -> DSPex.predict(name, {:predict, "q -> a"}, q: 1) end)
      {server, envelope, %{"spec" => %{"module" => "Predict"}}} = receive_frame(:call)
      error = Error.new(:overloaded, "the queue is full", retry_after_ms: 70)
      Test.send_frame(server, :fail, envelope.id, nil, %{}, Error.to_wire(error))
      assert Task.await(task) == {:error, error}
    end

    test "whose answer cannot be read fails with that code", %{test: name} do
      controlled(name)
      task = in_task(fn -> DSPex.ping(name) end)
      {server, envelope, _} = receive_frame(:call)
      Test.send_body(server, Envelope.encode(:reply, envelope.id, nil, %{}, <<0xC1>>))
      assert {:error, %{type: :value_reserved_byte}} = Task.await(task)
    end

    test "among many gets its own answer, in whatever order they come", %{test: name} do
      controlled(name)
      tasks = for number <- 1..100, do: in_task(fn -> DSPex.echo(name, number) end)
      frames = for _ <- tasks, do: receive_frame(:call)

      for {server, envelope, payload} <- Enum.shuffle(frames),
          do: Test.send_frame(server, :reply, envelope.id, nil, %{}, payload)

      assert Task.await_many(tasks) == Enum.map(1..100, &{:ok, &1})
    end

    test "that the server forgets ends at its deadline and is cancelled", %{test: name} do
      controlled(name)

      task =
        in_task(fn -> {DSPex.ping(name, nil, timeout: 1_000), Process.info(self(), :message_queue_len)} end)

      {server, %{id: id}, _} = receive_frame(:call)
      assert {_, %{id: ^id}, nil} = receive_frame(:cancel)
      Test.send_frame(server, :reply, id, nil, %{}, "too late")
      assert {{:error, %{type: :deadline}}, {:message_queue_len, 0}} = Task.await(task)
    end

    test "of a process that dies is cancelled", %{test: name} do
      controlled(name)
      {:ok, pid} = Elixir.Task.start(fn -> DSPex.ping(name) end)
      {_, %{id: id}, _} = receive_frame(:call)
      Process.exit(pid, :kill)
      assert {_, %{id: ^id}, nil} = receive_frame(:cancel)
    end

    test "of processes killed at any moment leaves nothing behind", %{test: name} do
      handled(name, fn _, value, _ -> {:reply, value} end)
      DSPex.echo!(name, 0)

      for spin <- 1..200 do
        {pid, monitor} = spawn_monitor(fn -> DSPex.echo(name, spin) end)
        for _ <- 1..(spin * 10), do: :ok
        Process.exit(pid, :kill)
        assert_receive {:DOWN, ^monitor, :process, ^pid, _}
      end

      connection = Module.concat(name, "Connection")
      settled(connection, Module.concat(name, "OpenCalls"), 1_000)
      assert Process.info(Process.whereis(connection), :monitors) == {:monitors, []}
    end

    test "that is cancelled after its answer, or awaited elsewhere, says so", %{test: name} do
      handled(name, fn _, _, _ -> {:prediction, %{"answer" => 1}} end)
      {:ok, call} = DSPex.async(name, "qa", %{})
      assert_raise ArgumentError, ~r/only the process that opened/, fn -> raise Task.await(awaiting(call)) end
      assert {:ok, %{answer: 1}} = DSPex.await(call)
      assert DSPex.cancel(call) == :ok
      assert DSPex.echo(name, 1) != nil
    end

    test "can be cancelled and still has one outcome", %{test: name} do
      controlled(name)
      {:ok, call} = DSPex.async(name, "qa", %{})
      {server, %{id: id}, _} = receive_frame(:call)
      :ok = DSPex.cancel(call)
      assert {_, %{id: ^id}, nil} = receive_frame(:cancel)
      Test.send_frame(server, :fail, id, nil, %{}, Error.to_wire(Error.new(:cancelled, "stopped")))
      assert {:error, %{type: :cancelled}} = DSPex.await(call)
    end

    test "that cannot be encoded or does not fit is refused here", %{test: name} do
      controlled(name, [], welcome: %{"max_frame_bytes" => 5_000})
      assert {:error, %{type: :value_unencodable}} = DSPex.ping(name, self())
      assert {:error, %{type: :frame_too_large}} = DSPex.ping(name, String.duplicate("x", 5_000))
      assert {:error, %{type: :invalid_argument}} = DSPex.predict(name, {"Predict", 3}, %{})
      assert {:error, %{type: :invalid_argument}} = DSPex.predict(name, "qa", 3)
      refute_received {Test, _, _, _}
    end

    test "waits its own time for a server that does not read", %{test: name} do
      controlled(name)
      task = in_task(fn -> DSPex.ping(name) end)
      {server, envelope, _} = receive_frame(:call)
      Test.busy(server, true)
      assert {:error, %{type: :deadline, maybe_executed?: false}} = DSPex.ping(name, nil, timeout: 200)
      Test.busy(server, false)
      Test.send_frame(server, :reply, envelope.id, nil, %{}, 1)
      assert Task.await(task) == {:ok, 1}
    end
  end

  describe "a server that is lost" do
    test "fails each open call once, and the next call finds a new one", %{test: name} do
      controlled(name)

      tasks =
        for _ <- 1..20, do: in_task(fn -> {DSPex.ping(name), Process.info(self(), :message_queue_len)} end)

      frames = for _ <- tasks, do: receive_frame(:call)
      {server, _, _} = hd(frames)
      Test.exit(server)

      for outcome <- Task.await_many(tasks) do
        assert {{:error, %{type: :connection_lost, maybe_executed?: true}}, {:message_queue_len, 0}} = outcome
      end

      task = in_task(fn -> DSPex.ping(name) end)
      {server, envelope, _} = receive_frame(:call)
      Test.send_frame(server, :reply, envelope.id, nil, %{}, "back")
      assert Task.await(task) == {:ok, "back"}
    end

    test "since it drains gets no more calls; those that it has end there", %{test: name} do
      controlled(name)
      [open, refused] = for text <- ["open", "refused"], do: in_task(fn -> DSPex.echo(name, text) end)
      frames = for _ <- 1..2, into: %{}, do: by_payload(receive_frame(:call))
      draining = Error.to_wire(Error.new(:draining, "the server is ending"))
      Test.send_frame(frames["refused"].server, :fail, frames["refused"].id, nil, %{}, draining)
      assert {:error, %{type: :draining}} = Task.await(refused)
      waiting = in_task(fn -> DSPex.echo(name, "waiting") end)
      waiting(name)
      Test.send_frame(frames["open"].server, :reply, frames["open"].id, nil, %{}, "answered")
      assert Task.await(open) == {:ok, "answered"}
      Test.exit(frames["open"].server, "exited with status 0")
      {server, %{id: id}, "waiting"} = receive_frame(:call)
      Test.send_frame(server, :reply, id, nil, %{}, "by the next")
      assert Task.await(waiting) == {:ok, "by the next"}
    end

    defp by_payload({server, envelope, payload}), do: {payload, %{server: server, id: envelope.id}}

    test "by silence is replaced", %{test: name} do
      controlled(name, probe_after: 100, silence_timeout: 400)
      task = in_task(fn -> DSPex.call(name, "system.info", %{}) end)
      {_, %{method: "system.info"}, _} = receive_frame(:call)
      {_, %{method: "system.ping"}, _} = receive_frame(:call)
      assert {:error, %{type: :connection_lost, message: message}} = Task.await(task)
      assert message =~ "silent"
    end

    test "is not one that is slow but answers pings", %{test: name} do
      controlled(name, probe_after: 200, silence_timeout: 800)
      task = in_task(fn -> DSPex.call(name, "system.info", %{}) end)
      {server, slow, _} = receive_frame(:call)

      for _ <- 1..5 do
        {_, ping, _} = receive_frame(:call)
        Test.send_frame(server, :reply, ping.id, nil, %{}, nil)
      end

      Test.send_frame(server, :reply, slow.id, nil, %{}, "at last")
      assert Task.await(task) == {:ok, "at last"}
    end

    test "by text on the wire is replaced", %{test: name} do
      controlled(name)
      task = in_task(fn -> DSPex.ping(name) end)
      {server, _, _} = receive_frame(:call)
      Test.send_body(server, "loading model weights")
      assert {:error, %{type: :connection_lost, message: message}} = Task.await(task)
      assert message =~ "no frame"
    end

    test "stays lost when our connection process dies instead", %{test: name} do
      controlled(name)
      task = in_task(fn -> DSPex.ping(name) end)
      receive_frame(:call)
      name |> Module.concat("Connection") |> Process.whereis() |> Process.exit(:kill)
      assert {:error, %{type: :connection_lost}} = Task.await(task)
      task = in_task(fn -> DSPex.ping(name) end)
      {server, envelope, _} = receive_frame(:call)
      Test.send_frame(server, :reply, envelope.id, nil, %{}, 1)
      assert Task.await(task) == {:ok, 1}
    end
  end

  describe "bad frames from the server" do
    setup %{test: name} do
      controlled(name, max_frame_bytes: 4_096)
      task = in_task(fn -> DSPex.ping(name) end)
      {server, %{id: id}, _} = receive_frame(:call)
      %{server: server, id: id, task: task}
    end

    test "are answered by a NOTE and the connection goes on", %{server: server, id: id, task: task} do
      Test.send_body(server, <<>>)
      assert {_, %{method: "system.fault"}, %{"code" => "frame_empty"}} = receive_frame(:note)
      Test.send_body(server, <<0x95, 1, 1, 0xC0, 0x81, 0xA1, "a", 0x90, 0xC0>>)
      assert {_, _, %{"code" => "envelope_invalid"}} = receive_frame(:note)
      Test.send_body(server, <<0x95, 0, 77, 0xC0, 0x80, 0xC0>>)
      assert {_, %{id: 77}, %{"code" => "envelope_invalid"}} = receive_frame(:fail)
      Test.send_frame(server, :reply, id + 1000, nil, %{}, "for nobody")
      Test.send_frame(server, :reply, id, nil, %{}, "fine")
      assert Task.await(task) == {:ok, "fine"}
    end

    test "that are too large fail their call", %{server: server, id: id, task: task} do
      Test.send_frame(server, :reply, id, nil, %{}, String.duplicate("x", 5_000))
      assert {:error, %{type: :frame_too_large}} = Task.await(task)
    end

    test "with items that nobody asked for end the call", %{server: server, id: id, task: task} do
      Test.send_frame(server, :item, id, nil, %{"seq" => 0}, 1)
      assert {:error, %{type: :credit_exceeded}} = Task.await(task)
      assert {_, %{id: ^id}, _} = receive_frame(:cancel)
    end
  end

  describe "stopping" do
    test "says goodbye and lets open calls end", %{test: name} do
      controlled(name)
      task = in_task(fn -> DSPex.ping(name) end)
      {server, envelope, _} = receive_frame(:call)
      stopping = in_task(fn -> DSPex.stop(name, 2_000) end)
      {_, %{method: "system.goodbye"} = goodbye, %{}} = receive_frame(:call)
      assert {:error, %{type: :draining}} = DSPex.ping(name)
      Test.send_frame(server, :reply, envelope.id, nil, %{}, "done")
      assert Task.await(task) == {:ok, "done"}
      Test.send_frame(server, :reply, goodbye.id, nil, %{}, nil)
      Test.exit(server, "exited with status 0")
      assert Task.await(stopping) == :ok
    end

    test "twice at once answers both, within the sooner time", %{test: name} do
      controlled(name)
      task = in_task(fn -> DSPex.ping(name) end)
      receive_frame(:call)
      first = in_task(fn -> DSPex.stop(name, 60_000) end)
      {_, %{method: "system.goodbye"}, _} = receive_frame(:call)
      second = in_task(fn -> DSPex.stop(name, 20) end)
      assert Task.await_many([first, second]) == [:ok, :ok]
      assert {:error, %{type: :connection_lost}} = Task.await(task)
      assert DSPex.stop(name) == :ok
    end

    test "before there is a server ends the waiting", %{test: name} do
      controlled(name, [], welcome: :silence)
      assert_receive {Test, :hello, _}
      task = in_task(fn -> DSPex.ping(name) end)
      waiting(name)
      assert DSPex.stop(name) == :ok
      assert {:error, %{type: :draining}} = Task.await(task)
    end

    test "does not wait for ever", %{test: name} do
      controlled(name)
      task = in_task(fn -> DSPex.ping(name) end)
      receive_frame(:call)
      assert DSPex.stop(name, 20) == :ok
      assert {:error, %{type: :connection_lost}} = Task.await(task)
    end
  end

  # The state of the connection, once a caller waits at its gate.
  defp waiting(name) do
    case :sys.get_state(Module.concat(name, "Connection")) do
      {_state, %{gate: %{waiting: [_ | _]}}} -> :ok
      _ -> waiting(name)
    end
  end

  test "callers that gave up waiting for a server are forgotten", %{test: name} do
    controlled(name, [handshake_timeout: 50], welcome: :silence)
    assert {:error, %{type: :unavailable}} = DSPex.ping(name, nil, timeout: 300)
    forgotten(name)
  end

  # The gate looks through its callers at each new attempt; the test's own time-out bounds the wait.
  defp forgotten(name) do
    assert_receive {Test, :hello, _}
    {_state, %{gate: %{waiting: waiting}}} = :sys.get_state(Module.concat(name, "Connection"))
    if waiting != [], do: forgotten(name)
  end

  test "a server that is asked must answer, even when its callers have given up", %{test: name} do
    controlled(name, probe_after: 100, silence_timeout: 400)
    task = in_task(fn -> DSPex.ping(name, nil, timeout: 10_000) end)
    {server, envelope, _} = receive_frame(:call)
    Test.send_frame(server, :reply, envelope.id, nil, %{}, nil)
    assert {:ok, nil} = Task.await(task)
    Test.busy(server, true)
    assert {:error, _} = DSPex.ping(name, nil, timeout: 200)
    assert_receive {Test, :hello, _}
    assert_receive {Test, :hello, _}
  end

  describe "secrets" do
    @hidden [
      secrets: %{"key" => "sk-123"},
      env: %{"KEY" => "sk-123"},
      lms: %{"default" => %{model: "m", options: %{api_key: "sk-123"}}}
    ]

    defp told(term), do: inspect(term, limit: :infinity, printable_limit: :infinity, structs: false)

    test "do not show in state, status or child specs", %{test: name} do
      controlled(name, @hidden)
      assert_receive {Test, :hello, %{"secrets" => %{"key" => "sk-123"}}}
      connection = Module.concat(name, "Connection")

      for process <- [name, connection] do
        refute told(:sys.get_status(process)) =~ "sk-123"
        refute told(:sys.get_state(process)) =~ "sk-123"
      end

      refute told(Supervisor.which_children(name)) =~ "sk-123"
      refute told(:supervisor.get_childspec(name, DSPex.Connection)) =~ "sk-123"
    end

    # A handler of Erlang's logger: it sees what Elixir's translators would leave out.
    def log(event, %{config: %{test: test}}), do: send(test, {:logged, event})

    test "do not show in the reports of a crash", %{test: name} do
      controlled(name, @hidden)
      {:ok, wire} = DSPex.Connection.wire(name, DSPex.Clock.now_ms() + 5_000)
      :ok = :logger.add_handler(name, __MODULE__, %{config: %{test: self()}})
      on_exit(fn -> :logger.remove_handler(name) end)
      # What is no process cannot be monitored: the connection crashes.
      send(wire.owner, {:watch, 1, "no process", wire.generation})
      assert_receive {:logged, %{msg: {:report, %{label: {:gen_statem, :terminate}}}} = statem}
      assert_receive {:logged, %{msg: {:report, %{label: {:proc_lib, :crash}}}} = crash}
      assert_receive {:logged, %{msg: {:report, %{label: {:supervisor, _}}}} = supervisor}
      for report <- [statem, crash, supervisor], do: refute(told(report) =~ "sk-123")
    end

    test "that cannot be fetched are a failed start, told without what was raised", %{test: name} do
      controlled(name, secrets: fn -> raise "vault says sk-123" end)
      assert {:error, %{type: :invalid_argument, message: message}} = DSPex.ping(name, nil, timeout: 5_000)
      assert message =~ "secrets" and not (message =~ "sk-123")
    end
  end
end
