defmodule DSPex.BatchTest do
  @moduledoc "Batches: results in order, one by one as they end, and what becomes of those of a batch that fails."
  use ExUnit.Case, async: true

  import DSPex.Instances

  alias DSPex.{Batch, Error, Tagged, Test}

  @moduletag :capture_log

  @summary %{
    "rows" => 3,
    "done" => 2,
    "failed" => 1,
    "left" => 0,
    "stopped" => nil,
    "usage" => %{"lm_calls" => 3}
  }

  defp done(index, answer) do
    prediction = %Tagged{tag: "prediction", value: %{"fields" => %{"answer" => answer}}}
    %{"index" => index, "prediction" => prediction}
  end

  defp failed(index),
    do: %{"index" => index, "error" => Error.to_wire(Error.new(:prediction_failed, "nonsense"))}

  # Sends items and then the outcome, as a server does.
  defp serve(server, id, items, kind, payload, meta \\ %{}) do
    for {item, seq} <- Enum.with_index(items),
        do: Test.send_frame(server, :item, id, nil, %{"seq" => seq}, item)

    Test.send_frame(server, kind, id, nil, meta, payload)
  end

  defp rows(count), do: for(number <- 1..count, do: %{question: "#{number}?"})

  test "results come in the order of the rows, whatever order they ended in", %{test: name} do
    controlled(name)
    task = Task.async(fn -> DSPex.batch(name, "qa", rows(3)) end)
    {server, %{id: id, method: "batch.run", meta: meta}, payload} = receive_frame(:call)
    assert %{"program" => "qa", "credit" => 64} = meta
    assert payload == %{"inputs" => for(number <- 1..3, do: %{"question" => "#{number}?"})}
    serve(server, id, [done(2, "c"), failed(1), done(0, "a")], :reply, @summary, %{"version" => 4})
    assert {:ok, %Batch{results: [first, second, third]} = batch} = Task.await(task)
    assert {{:ok, %{answer: "a"}}, {:ok, %{answer: "c"}}} = {first, third}
    assert {:error, %Error{type: :prediction_failed}} = second
    assert {batch.done, batch.failed, batch.left, batch.stopped} == {2, 1, 0, nil}
    assert {batch.usage, batch.meta["version"]} == {%{"lm_calls" => 3}, 4}
    assert inspect(batch) == "#DSPex.Batch<2 done, 1 failed, 0 left>"
  end

  test "options of predictions and of the batch go along", %{test: name} do
    controlled(name)
    spec = {"Predict", "question -> answer"}

    options = [
      parallelism: 8,
      max_errors: 2,
      row_timeout: 500,
      lm: "fast",
      adapter: :json,
      lane: :interactive
    ]

    options = [on_violation: {:retry, 2}] ++ options
    task = Task.async(fn -> DSPex.batch(name, spec, [[question: "?"]], options) end)
    {server, %{id: id, meta: meta}, payload} = receive_frame(:call)
    assert %{"lane" => "interactive"} = meta

    assert %{"parallelism" => 8, "max_errors" => 2, "row_deadline_ms" => 500, "lm" => "fast"} = payload
    assert payload["on_violation"] == %{"retry" => 2}
    assert %{"adapter" => "json", "spec" => %{"module" => "Predict"}, "inputs" => [%{}]} = payload
    serve(server, id, [], :reply, %{@summary | "rows" => 1, "left" => 1, "stopped" => "max_errors"})
    assert {:ok, %Batch{results: [:left], stopped: :max_errors, left: 1}} = Task.await(task)
  end

  test "what was done is not lost where the whole fails", %{test: name} do
    controlled(name)
    task = Task.async(fn -> DSPex.batch(name, "qa", rows(3)) end)
    {server, %{id: id}, _} = receive_frame(:call)
    serve(server, id, [done(1, "b")], :fail, Error.to_wire(Error.new(:deadline, "over")))
    assert {:error, %Error{type: :deadline, details: %{"results" => results}}} = Task.await(task)
    assert %{1 => {:ok, %{answer: "b"}}} = results
    assert map_size(results) == 1
  end

  test "the stream has each result as it comes, and the figures as last element", %{test: name} do
    controlled(name)
    task = Task.async(fn -> name |> DSPex.batch_stream("qa", rows(3)) |> Enum.to_list() end)
    {server, %{id: id}, _} = receive_frame(:call)
    serve(server, id, [done(2, "c"), failed(1), done(0, "a")], :reply, @summary)
    assert [{2, {:ok, %{answer: "c"}}}, {1, {:error, error}}, {0, {:ok, _}}, last] = Task.await(task)
    assert {error.type, last.done, last.results} == {:prediction_failed, 2, []}
  end

  test "nothing is sent before the first demand, and halting cancels", %{test: name} do
    controlled(name)
    stream = DSPex.batch_stream(name, "qa", rows(3), credit: 4)
    refute_receive {Test, _, _, _}, 20
    task = Task.async(fn -> {Enum.take(stream, 1), Process.info(self(), :messages)} end)
    {server, %{id: id, meta: %{"credit" => 4}}, _} = receive_frame(:call)
    Test.send_frame(server, :item, id, nil, %{"seq" => 0}, done(0, "a"))
    assert {_, %{id: ^id}, nil} = receive_frame(:cancel)
    assert {[{0, {:ok, _}}], {:messages, []}} = Task.await(task)
  end

  test "credit is given back in halves", %{test: name} do
    controlled(name)
    task = Task.async(fn -> name |> DSPex.batch_stream("qa", rows(3), credit: 4) |> Enum.count() end)
    {server, %{id: id}, _} = receive_frame(:call)
    for seq <- 0..1, do: Test.send_frame(server, :item, id, nil, %{"seq" => seq}, done(seq, "a"))
    assert {_, %{id: ^id, meta: %{"n" => 2}}, nil} = receive_frame(:credit)
    Test.send_frame(server, :reply, id, nil, %{}, @summary)
    assert Task.await(task) == 3
  end

  test "a caller that dies cancels its batch", %{test: name} do
    controlled(name)
    caller = spawn(fn -> DSPex.batch(name, "qa", rows(3)) end)
    {_server, %{id: id}, _} = receive_frame(:call)
    Process.exit(caller, :kill)
    assert {_, %{id: ^id}, nil} = receive_frame(:cancel)
  end

  test "a failure of the whole raises from the stream, after what came before", %{test: name} do
    controlled(name)
    me = self()

    task =
      Task.async(fn ->
        catch_error(name |> DSPex.batch_stream("qa", rows(2)) |> Enum.each(&send(me, {:element, &1})))
      end)

    {server, %{id: id}, _} = receive_frame(:call)
    serve(server, id, [done(1, "b")], :fail, Error.to_wire(Error.new(:deadline, "over")))
    assert %Error{type: :deadline} = Task.await(task)
    assert_received {:element, {1, {:ok, %{answer: "b"}}}}
  end

  test "what is wrong is named before anything is sent", %{test: name} do
    controlled(name)

    for {rows, options, field} <- [
          {[%{}, 3], [], "inputs[1]"},
          {[%{}, ~D[2026-01-31]], [], "inputs[1]"},
          {3, [], "inputs"},
          {[], [parallelism: 0], "parallelism"},
          {[], [max_errors: 0], "max_errors"},
          {[], [row_timeout: "soon"], "row_timeout"},
          {[], [parallel: 1], "parallel"}
        ] do
      assert {:error, %Error{type: :invalid_argument, message: message}} =
               DSPex.batch(name, "qa", rows, options)

      assert String.starts_with?(message, field <> ": expected")
    end

    assert_raise Error, ~r/inputs\[0\]: expected/, fn -> DSPex.batch!(name, "qa", [3]) end
    refute_receive {Test, _, _, _}, 20
  end
end
