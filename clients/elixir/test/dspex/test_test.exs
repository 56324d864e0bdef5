defmodule DSPex.TestTest do
  @moduledoc "What users' own tests stand on: stubs owned by a test, and recorded answers."
  use ExUnit.Case, async: true

  alias DSPex.{Program, Session, Test, Token}

  @moduletag :capture_log

  defp shared(name, settings \\ []) do
    start_supervised!({DSPex, name: name, transport: Test, transport_options: settings})
    name
  end

  defp saying(answer), do: fn "program.predict", _, _ -> {:prediction, %{"answer" => answer}} end
  defp ask(name), do: DSPex.predict!(name, "qa", %{question: "?"}).answer

  test "each test's stub answers its own processes, at the same time", %{test: name} do
    shared(name)

    tests =
      for number <- 1..20 do
        Task.async(fn ->
          # As in a test process of its own: without the callers of this one.
          Process.put(:"$callers", [])
          Test.stub(name, saying(number))
          [ask(name), Task.await(Task.async(fn -> ask(name) end))]
        end)
      end

    assert Task.await_many(tests) == for(number <- 1..20, do: [number, number])
  end

  test "processes started under a test are its own too", %{test: name} do
    shared(name)
    Test.stub(name, saying("42"))
    agent = start_supervised!({Agent, fn -> nil end})
    assert Agent.get(agent, fn _ -> ask(name) end) == "42"
  end

  test "without a stub the handler answers, and without that the call says what to do", %{test: name} do
    shared(Module.concat(name, A), handler: saying("handled"))
    assert ask(Module.concat(name, A)) == "handled"
    shared(Module.concat(name, B))
    assert {:error, %{message: message}} = DSPex.predict(Module.concat(name, B), "qa", %{})
    assert message =~ "DSPex.Test.stub/2"
  end

  describe "a recording" do
    @describetag :tmp_dir

    defp recorded(name, path, handler, use) do
      settings = [path: path, transport: Test, transport_options: [handler: handler]]

      options = [
        name: name,
        transport: Test.Recorder,
        transport_options: settings,
        secrets: %{"k" => "sk-123"}
      ]

      start_supervised!({DSPex, options})
      outcome = use.(name)
      DSPex.stop(name)
      outcome
    end

    defp conversation(name) do
      echoes = for number <- [1, 2, 1], do: DSPex.echo(name, number)
      stream = Enum.to_list(DSPex.stream(name, "qa", %{question: "?"}))
      [echoes, stream, DSPex.echo(name, "bad")]
    end

    test "gives again what a server answered, and keeps no secrets", %{test: name, tmp_dir: folder} do
      path = Path.join(folder, "answers.frames")
      {:ok, counter} = Agent.start_link(fn -> 0 end)
      count = fn -> Agent.get_and_update(counter, &{&1, &1 + 1}) end

      handler = fn
        "system.echo", "bad", _ -> {:fail, DSPex.Error.new(:overloaded, "full")}
        "system.echo", value, _ -> {:reply, [value, count.()], %{"worker" => 1}}
        _, _, _ -> {:stream, ["a", "b"], %{"answer" => "ab"}}
      end

      first = recorded(Module.concat(name, Recorded), path, handler, &conversation/1)
      assert [[{:ok, [1, 0]}, {:ok, [2, 1]}, {:ok, [1, 2]}], [%Token{}, %Token{}, _], {:error, _}] = first

      shared(name)
      Test.replay(name, path)
      assert conversation(name) == first
      text = File.read!(path)
      assert text =~ "# call" and text =~ "system.echo 1"
      refute text =~ Base.encode64("sk-123") or text =~ "sk-123" or text =~ "system.hello"
    end

    test "tells programs, versions, tags and sessions apart", %{test: name, tmp_dir: folder} do
      path = Path.join(folder, "who.frames")

      handler = fn "program.predict", _, meta ->
        {:prediction, %{"answer" => inspect(Map.drop(meta, ["deadline_ms"]))}}
      end

      who = ["qa", Program.new("qa", 2), Program.new("qa", tag: "t"), Session.new("qa"), Session.new("s")]
      ask = fn name, who -> Enum.map(who, &DSPex.predict!(name, &1, %{question: "?"}).answer) end

      first = recorded(Module.concat(name, Recorded), path, handler, &ask.(&1, who))
      assert first == Enum.uniq(first)
      shared(name)
      Test.replay(name, path)
      assert ask.(name, Enum.reverse(who)) == Enum.reverse(first)
    end

    test "says which call it does not have", %{test: name, tmp_dir: folder} do
      path = Path.join(folder, "empty.frames")
      File.write!(path, "# nothing\n")
      shared(name)
      Test.replay(name, path)
      assert {:error, %{message: message}} = DSPex.echo(name, 1)
      assert message =~ "no (further) recorded answer to this system.echo"
      assert_raise File.Error, fn -> Test.replay(name, Path.join(folder, "missing.frames")) end
    end

    test "needs a path that can be written", %{test: name} do
      for settings <- [[], [path: "/nowhere/at/all"]] do
        dspex = Module.concat(name, inspect(settings))
        start_supervised!({DSPex, name: dspex, transport: Test.Recorder, transport_options: settings})
        assert {:error, %{type: :unavailable}} = DSPex.ping(dspex, 1, timeout: 5_000)
      end
    end
  end
end
