defmodule DSPex.ServerHostStreamTest do
  @moduledoc "Language models that are Elixir functions and write piece by piece, through a real server."
  use ExUnit.Case, async: false

  alias DSPex.{Error, LM, Prediction, Token}

  @moduletag :server
  @moduletag :capture_log
  @moduletag timeout: 120_000

  @program {"Predict", "question -> answer"}
  @words ["The ", "answer ", "is ", "forty-", "two."]
  @long Enum.map(1..100_000, &"word #{&1} ")

  setup_all do
    name = __MODULE__.DSPex
    parent = self()
    gate = spawn_link(fn -> gate(parent, nil) end)

    start_supervised!(
      {DSPex,
       name: name,
       command: OptionParser.split(System.fetch_env!("DSPEX_COMMAND")),
       args: ["--workers", "1", "--log-level", "error"],
       lms: %{default: "host/write", slow: "host/slow", endless: "host/endless", broken: "host/broken"},
       functions: %{
         "write" => fn _args -> {:stream, framed(@words)} end,
         "slow" => fn _args ->
           {:stream, framed(["a beginning that is long enough ", fn -> wait(gate) end])}
         end,
         "endless" => fn _args -> send(gate, {:writes, self()}) && {:stream, framed(@long)} end,
         "broken" => fn _args -> {:stream, Stream.map(framed(@words), &broken/1)} end
       },
       timeout: 60_000}
    )

    DSPex.echo!(name, nil, timeout: 60_000)
    %{dspex: name, gate: gate}
  end

  # Knows who writes, and lets a writer go on when a test says so.
  defp gate(parent, writer) do
    receive do
      {:writes, pid} -> gate(parent, pid)
      {:writer, from} -> send(from, {:writer, writer}) && gate(parent, writer)
      {:go, pid} -> send(pid, :go) && gate(parent, writer)
    end
  end

  defp wait(gate) do
    send(gate, {:writes, self()})
    receive(do: (:go -> "and an end"))
  end

  defp writer(gate) do
    send(gate, {:writer, self()})

    receive do
      {:writer, nil} -> Process.sleep(5) && writer(gate)
      {:writer, pid} -> pid
    end
  end

  defp framed(words) do
    ["[[ ## answer ## ]]\n"]
    |> Stream.concat(Stream.map(words, &if(is_function(&1), do: &1.(), else: &1)))
    |> Stream.concat(["\n\n[[ ## completed ## ]]", {:reply, tokens_in: 7, tokens_out: 5}])
  end

  defp broken("is " <> _), do: raise(ArgumentError, "the model is gone")
  defp broken(piece), do: piece

  defp texts(elements), do: for(%Token{text: text} <- elements, into: "", do: text)

  test "words come as the function writes them", %{dspex: dspex, gate: gate} do
    elements =
      dspex
      |> DSPex.stream(@program, %{question: "?"}, lm: "slow", events: [:token])
      |> Enum.map(fn element ->
        # The first is here while the function still waits.
        with %Token{text: "a beginning" <> _} <- element, do: send(gate, {:go, writer(gate)})
        element
      end)

    assert texts(elements) == "a beginning that is long enough and an end"

    assert %Prediction{} = prediction = List.last(elements)
    assert prediction.answer == "a beginning that is long enough and an end"

    assert %{"tokens_in" => 7, "tokens_out" => 5} = prediction.meta
  end

  test "without a stream the pieces are joined", %{dspex: dspex} do
    prediction = DSPex.predict!(dspex, @program, %{question: "?"})
    assert prediction.answer == "The answer is forty-two."
    assert %{"tokens_in" => 7, "tokens_out" => 5} = prediction.meta
  end

  test "a model is streamed without a program, too", %{dspex: dspex} do
    text = dspex |> LM.stream("?") |> texts()
    assert text =~ "The answer is forty-two."
  end

  test "a stream that is halted ends the function", %{dspex: dspex, gate: gate} do
    assert [%Token{}] =
             dspex
             |> DSPex.stream(@program, %{question: "?"}, lm: "endless", events: [:token])
             |> Enum.take(1)

    monitor = gate |> writer() |> Process.monitor()
    assert_receive {:DOWN, ^monitor, :process, _, _killed}, 10_000
    assert DSPex.predict!(dspex, @program, %{question: "?"}).answer =~ "forty-two"
  end

  test "pieces that raise fail the prediction, once", %{dspex: dspex} do
    assert {:error, %Error{type: :function_failed, message: message}} =
             DSPex.predict(dspex, @program, %{question: "?"}, lm: "broken")

    assert message =~ "the model is gone"

    error =
      assert_raise Error, fn ->
        dspex |> DSPex.stream(@program, %{question: "?"}, lm: "broken", events: [:token]) |> Stream.run()
      end

    assert error.type == :function_failed
  end
end
