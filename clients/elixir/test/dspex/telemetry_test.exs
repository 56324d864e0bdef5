defmodule DSPex.TelemetryTest do
  @moduledoc "Each call has one start and one stop, however it is made and however it ends."
  use ExUnit.Case, async: true

  import DSPex.Instances

  alias DSPex.{Error, Streaming, TelemetryProbe, Test}

  @moduletag :capture_log

  setup %{test: name} do
    {:ok, _} = TelemetryProbe.attach(name)
    :ok
  end

  # The start and the stop of the one call that was made; another stop is a failure.
  defp stop_of(name, method) do
    assert_receive {:event, [:dspex, :call, :start], %{system_time: _}, %{dspex: ^name, method: ^method}}
    assert_receive {:event, [:dspex, :call, :stop], %{duration: duration} = measurements, metadata}
    assert is_integer(duration) and metadata.method == method and metadata.dspex == name
    refute_received {:event, [:dspex, :call, _], _, _}
    {measurements, metadata}
  end

  test "a call stops with what the server measured", %{test: name} do
    meta = %{"queue_ms" => 0.5, "lm_calls" => 2, "tokens_in" => 7, "worker" => 3, "attempt" => 1}
    handled(name, fn _, value, _ -> {:reply, value, meta} end)
    DSPex.echo!(name, 1)
    {measurements, metadata} = stop_of(name, "system.echo")
    assert %{queue_ms: 0.5, lm_calls: 2, tokens_in: 7} = measurements
    assert %{result: :ok, worker: 3, attempt: 1} = metadata
  end

  test "a call that fails stops with its error's type, raised or not", %{test: name} do
    handled(name, fn _, _, _ -> {:fail, Error.new(:overloaded, "full")} end)
    assert_raise Error, fn -> DSPex.echo!(name, 1) end
    assert {_, %{result: :overloaded}} = stop_of(name, "system.echo")
    assert {:error, _} = DSPex.echo(name, self())
    assert {_, %{result: :value_unencodable}} = stop_of(name, "system.echo")
  end

  test "a call that is awaited later stops then", %{test: name} do
    handled(name, fn _, _, _ -> {:prediction, %{}} end)
    {:ok, call} = DSPex.async(name, "qa", %{})
    assert_receive {:event, [:dspex, :call, :start], _, _} = start
    refute_received {:event, [:dspex, :call, :stop], _, _}
    send(self(), start)
    {:ok, _} = DSPex.await(call)
    assert {_, %{result: :ok}} = stop_of(name, "program.predict")
  end

  test "a call at its deadline stops once", %{test: name} do
    handled(name, fn _, _, _ -> :silence end)
    {:error, _} = DSPex.echo(name, 1, timeout: 200)
    assert {_, %{result: :deadline}} = stop_of(name, "system.echo")
  end

  describe "a stream" do
    test "stops at its end", %{test: name} do
      handled(name, fn _, _, _ -> {:stream, ["a", "b"], %{}} end)
      assert name |> DSPex.stream("qa", %{}) |> Enum.count() == 3
      assert {_, %{result: :ok}} = stop_of(name, "program.predict")
    end

    test "that is halted stops as cancelled", %{test: name} do
      handled(name, fn _, _, _ -> {:stream, ["a", "b"], %{}} end)
      assert name |> DSPex.stream("qa", %{}) |> Enum.take(1) |> length() == 1
      assert {_, %{result: :cancelled}} = stop_of(name, "program.predict")
    end

    test "whose reader raises stops as cancelled", %{test: name} do
      handled(name, fn _, _, _ -> {:stream, ["a", "b"], %{}} end)

      assert_raise RuntimeError, fn ->
        name |> DSPex.stream("qa", %{}) |> Enum.each(fn _ -> raise "no" end)
      end

      assert {_, %{result: :cancelled}} = stop_of(name, "program.predict")
    end

    test "that fails stops once, with the error", %{test: name} do
      handled(name, fn _, _, _ -> {:fail, Error.new(:lm_error, "no")} end)
      assert_raise Error, fn -> name |> DSPex.stream("qa", %{}) |> Stream.run() end
      assert {_, %{result: :lm_error}} = stop_of(name, "program.predict")
    end

    test "of messages stops at its end", %{test: name} do
      handled(name, fn _, _, _ -> {:prediction, %{}} end)
      {:ok, call} = Streaming.start(name, "qa", %{})
      assert_receive {DSPex, _, _, _, _} = message
      assert {:done, _} = Streaming.handle(call, message)
      assert {_, %{result: :ok}} = stop_of(name, "program.predict")
    end
  end

  test "functions have spans, and exceptions where they raise", %{test: name} do
    functions = %{"ok" => fn _ -> {:error, "no"} end, "bad" => fn _ -> raise "no" end}
    controlled(name, functions: functions)
    {:ok, _call} = DSPex.async(name, "qa", %{})
    {server, _, _} = receive_frame(:call)

    for {id, function} <- [{1, "ok"}, {2, "bad"}] do
      payload = %{"function" => function, "args" => %{}}
      Test.send_frame(server, :call, id, "function.call", %{"parent" => 1}, payload)
      assert_receive {:event, [:dspex, :function, :start], _, %{function: ^function}}
    end

    assert_receive {:event, [:dspex, :function, :stop], %{duration: _}, %{result: :function_failed}}
    assert_receive {:event, [:dspex, :function, :exception], _, %{kind: :error, reason: %RuntimeError{}}}
  end

  test "connections and what the pool tells are events", %{test: name} do
    controlled(name)
    assert_receive {:event, [:dspex, :connection, :open], %{duration: _}, %{server: "dspex/test"}}
    {:ok, call} = DSPex.async(name, "qa", %{})
    {server, _, _} = receive_frame(:call)
    Test.send_frame(server, :note, 0, "pool.event", %{}, %{"event" => "recycled"})
    assert_receive {:event, [:dspex, :pool, :event], %{}, %{"event" => "recycled"}}
    Test.exit(server)
    assert {:error, %{type: :connection_lost}} = DSPex.await(call)
    assert_receive {:event, [:dspex, :connection, :closed], %{pending: 1}, %{reason: "exited" <> _}}
  end
end
