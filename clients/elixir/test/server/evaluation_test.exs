defmodule DSPex.ServerEvaluationTest do
  @moduledoc "Evaluations with the real server: what is scored is found, compared, and goes on after a kill."
  use ExUnit.Case, async: false

  import DSPex.Servers

  alias DSPex.{Datasets, Error, Evaluation, Metric}
  alias DSPex.Evaluation.Row

  @moduletag :server
  @moduletag :capture_log
  @moduletag :tmp_dir
  @moduletag timeout: 240_000

  @program {"Predict", "question -> answer"}
  @metrics [right: Metric.exact_match("answer"), short: Metric.regex("answer", "^.{1,3}$")]

  # The model says its question; every third row wants that.
  defp rows(count) do
    for n <- 1..count, do: %{question: "q#{n}", answer: if(rem(n, 3) == 0, do: "q#{n}", else: "no")}
  end

  test "rows are scored, found and compared", %{tmp_dir: folder} do
    dspex = stored(__MODULE__.Plain, "sqlite:#{folder}/s.db")
    data = Datasets.put!(dspex, "qa", rows(30), inputs: [:question])
    me = self()
    made = Evaluation.run!(dspex, @program, data, metrics: @metrics, evaluation: "e", on_row: &send(me, &1))
    assert {made.state, made.done, made.dataset} == {:done, 30, data}
    assert_in_delta made.scores["right"].mean, 1 / 3, 1.0e-9
    assert made.scores["right"].low < 1 / 3 and made.scores["right"].high > 1 / 3
    assert made.scores["short"].passed == 30
    heard = for _ <- 1..30, do: assert_received(%Row{})
    assert Enum.sort(Enum.map(heard, & &1.index)) == Enum.to_list(0..29)
    assert Evaluation.get!(dspex, "e") == made
    wrong = dspex |> Evaluation.rows(made, metric: "right", passed: false, limit: 7) |> Enum.to_list()
    assert length(wrong) == 20
    assert Enum.all?(wrong, fn row -> match?({:ok, %{score: +0.0}}, row.scores["right"]) end)

    assert %{failing: 20, clusters: [%{kind: :score, metric: "right", count: 20}]} =
             Evaluation.failures!(dspex, made)

    # Against itself there is nothing to find; against rows of a call it is refused.
    Evaluation.run!(dspex, @program, data, metrics: @metrics, evaluation: "f")
    compared = Evaluation.compare!(dspex, ["e", "f"])
    assert [%{difference: +0.0, ties: 30, significant?: false}] = compared.metrics["right"]
    Evaluation.run!(dspex, @program, rows(30), metrics: @metrics, evaluation: "g", inputs: [:question])
    assert {:error, %Error{type: :invalid_argument, details: details}} = Evaluation.compare(dspex, ["e", "g"])
    assert details["field"] == "evaluations[1].dataset"
    assert ["e", "f", "g"] == for(one <- Evaluation.list!(dspex).entries, do: one.id)
    assert Evaluation.delete!(dspex, "g") == :ok
    assert {:error, %Error{type: :unknown_evaluation}} = Evaluation.get(dspex, "g")
  end

  test "after a kill it goes on where it was", %{tmp_dir: folder} do
    dspex = stored(__MODULE__.Killed, "sqlite:#{folder}/s.db")
    data = Datasets.put!(dspex, "qa", rows(40), inputs: [:question])
    options = [metrics: @metrics, evaluation: "e", lm: "steady", parallelism: 4]
    me = self()

    task =
      Task.async(fn ->
        Evaluation.run(dspex, @program, data, options ++ [on_row: &send(me, {:row, &1.index})])
      end)

    for _ <- 1..8, do: assert_receive({:row, _index}, 20_000)
    kill_server(dspex)
    assert {:error, %Error{type: :connection_lost}} = Task.await(task, 60_000)
    heard = drain([])
    stream = Evaluation.stream(dspex, @program, data, options)
    {rows, [made]} = stream |> Enum.to_list() |> Enum.split(-1)
    again = MapSet.new(rows, & &1.index)
    assert MapSet.disjoint?(again, MapSet.new(heard))
    assert {made.state, made.done} == {:done, 40}
    assert dspex |> Evaluation.rows("e") |> Enum.map(& &1.index) == Enum.to_list(0..39)
    other = Evaluation.run(dspex, @program, data, metrics: @metrics, evaluation: "e")
    assert {:error, %Error{type: :evaluation_exists}} = other
  end

  test "what failed is run again where that is asked for, and nothing else" do
    {:ok, grader} = Agent.start_link(fn -> {:away, []} end)

    grade = fn %{"example" => %{"question" => question}} ->
      Agent.get_and_update(grader, fn {state, asked} -> {state, {state, [question | asked]}} end) == :there or
        question not in ["q1", "q2"] or raise "the grader is away"
    end

    name = __MODULE__.Again
    options = Keyword.update!(options(name, "memory", []), :functions, &Map.put(&1, "grade", grade))
    start_supervised!({DSPex, options})
    options = [metrics: [graded: Metric.host("grade")], evaluation: "e"]
    made = Evaluation.run!(name, @program, rows(5), options)
    assert %{scored: 3, failed: 2} = made.scores["graded"]
    assert Evaluation.run!(name, @program, rows(5), options) == made

    Agent.update(grader, fn _ -> {:there, []} end)
    made = Evaluation.run!(name, @program, rows(5), options ++ [again: true])
    assert {made.state, made.done} == {:done, 5}
    assert %{scored: 5, failed: 0, mean: 1.0} = made.scores["graded"]
    assert Enum.sort(Agent.get(grader, &elem(&1, 1))) == ["q1", "q2"]
    assert length(Enum.to_list(Evaluation.rows(name, "e"))) == 5

    assert {:error, %Error{details: %{"field" => "again"}}} =
             Evaluation.run(name, @program, rows(5), metrics: options[:metrics], again: true)
  end

  defp drain(heard) do
    receive do
      {:row, index} -> drain([index | heard])
    after
      0 -> heard
    end
  end
end
