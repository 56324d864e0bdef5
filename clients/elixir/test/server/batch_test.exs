defmodule DSPex.ServerBatchTest do
  @moduledoc "Batches with the real server: the results of as many predictions, also where workers are killed."
  use ExUnit.Case, async: false

  import DSPex.Servers, only: [kill: 1, kill_server: 1, wait_for: 1, worker_pids: 1]

  alias DSPex.{Batch, Error}

  @moduletag :server
  @moduletag :capture_log
  @moduletag timeout: 240_000

  @spec_of_rows {"Predict", "question: str -> answer: str"}

  setup_all do
    name = __MODULE__.DSPex

    start_supervised!(
      {DSPex,
       name: name,
       command: OptionParser.split(System.fetch_env!("DSPEX_COMMAND")),
       args: ["--workers", "2", "--log-level", "error"],
       lms: %{
         default: %{model: "sim/batches", options: %{seed: 7}},
         steady: %{model: "sim/batches", options: %{seed: 7, latency_ms: 100}},
         slow: %{model: "sim/slow", options: %{latency_ms: 20_000}},
         host: "host/model"
       },
       functions: %{"model" => &model/1},
       backoff: {1, 20},
       timeout: 120_000}
    )

    DSPex.echo!(name, nil, timeout: 60_000)
    %{dspex: name}
  end

  defp model(%{"messages" => messages}) do
    text = List.last(messages)["content"]
    [_, question] = Regex.run(~r/## question ## \]\]\n(.*)/, text)
    "[[ ## answer ## ]]\n#{String.upcase(question)}\n\n[[ ## completed ## ]]"
  end

  defp rows(count), do: for(number <- 1..count, do: [question: "number #{number}"])

  defp running(dspex), do: DSPex.info!(dspex)["lanes"]["batch"]["running"]

  test "it gives what as many predictions give, in order", %{dspex: dspex} do
    rows = rows(30)
    {:ok, batch} = DSPex.batch(dspex, @spec_of_rows, rows)
    alone = for row <- rows, do: DSPex.predict!(dspex, @spec_of_rows, row).answer
    assert alone == for({:ok, prediction} <- batch.results, do: prediction.answer)
    assert {batch.done, batch.usage["lm_calls"]} == {30, 30}
  end

  test "an Elixir function answers for all rows", %{dspex: dspex} do
    {:ok, batch} = DSPex.batch(dspex, @spec_of_rows, rows(20), lm: :host, parallelism: 5)
    answers = for {:ok, prediction} <- batch.results, do: prediction.answer
    assert answers == for(number <- 1..20, do: "NUMBER #{number}")
  end

  test "a wrong row has its own error, which names it", %{dspex: dspex} do
    {:ok, batch} = DSPex.batch(dspex, @spec_of_rows, [%{question: "?"}, %{quest: "?"}, %{question: "!"}])
    assert [{:ok, _}, {:error, %Error{type: :invalid_argument} = error}, {:ok, _}] = batch.results
    assert error.details["field"] =~ ~r/\Ainputs\[1\]\./
  end

  test "max_errors leaves rows", %{dspex: dspex} do
    rows = [%{question: "?"} | for(_ <- 1..20, do: %{quest: "?"})]
    {:ok, batch} = DSPex.batch(dspex, @spec_of_rows, rows, parallelism: 1, max_errors: 2)
    assert {batch.done, batch.failed, batch.left, batch.stopped} == {1, 2, 18, :max_errors}
    assert [{:ok, _}, {:error, _}, {:error, _}, :left | _] = batch.results
  end

  test "what is wrong with the call fails it as a whole", %{dspex: dspex} do
    assert {:error, %Error{type: :unknown_lm}} = DSPex.batch(dspex, @spec_of_rows, rows(5), lm: :nobody)

    assert {:error, %Error{type: :invalid_argument, details: %{"field" => "spec.module"}}} =
             DSPex.batch(dspex, {"Nonsense", "question -> answer"}, rows(5))
  end

  test "workers that are killed cost no row", %{dspex: dspex} do
    task =
      Task.async(fn ->
        DSPex.batch(dspex, @spec_of_rows, rows(80), lm: :steady, parallelism: 8)
      end)

    for _ <- 1..2 do
      wait_for(fn -> running(dspex) > 2 end)
      dspex |> worker_pids() |> hd() |> kill()
    end

    assert {:ok, %Batch{done: 80, failed: 0} = batch} = Task.await(task, 120_000)
    assert length(batch.results) == 80
    assert Enum.all?(batch.results, &match?({:ok, _}, &1))
  end

  test "a host process that dies cancels its batch", %{dspex: dspex} do
    caller = spawn(fn -> DSPex.batch(dspex, @spec_of_rows, rows(50), lm: :slow, parallelism: 4) end)
    wait_for(fn -> running(dspex) == 4 end)
    Process.exit(caller, :kill)
    wait_for(fn -> running(dspex) == 0 end)
  end

  test "a stream that is halted cancels its batch", %{dspex: dspex} do
    stream = DSPex.batch_stream(dspex, @spec_of_rows, rows(500), lm: :steady, parallelism: 4, credit: 4)
    assert [{_, {:ok, _}}, {_, {:ok, _}}] = Enum.take(stream, 2)
    wait_for(fn -> running(dspex) == 0 end)
  end

  test "what was done is in the error when the time is over", %{dspex: dspex} do
    rows = rows(400)

    assert {:error, %Error{type: :deadline, details: details}} =
             DSPex.batch(dspex, @spec_of_rows, rows, lm: :steady, parallelism: 2, timeout: 3_000)

    assert map_size(details["results"]) > 0
    assert map_size(details["results"]) == details["done"]
    assert Enum.all?(details["results"], &match?({_index, {:ok, _}}, &1))
  end

  test "a server that is killed ends the batch with what was done", %{dspex: dspex} do
    task = Task.async(fn -> DSPex.batch(dspex, @spec_of_rows, rows(400), lm: :steady, parallelism: 2) end)
    wait_for(fn -> running(dspex) > 0 end)
    kill_server(dspex)
    assert {:error, %Error{type: :connection_lost, details: %{"results" => _}}} = Task.await(task, 60_000)
    assert {:ok, %Batch{done: 3}} = DSPex.batch(dspex, @spec_of_rows, rows(3), timeout: 60_000)
  end
end
