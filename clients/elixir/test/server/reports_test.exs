defmodule DSPex.StoredReportsTest do
  @moduledoc "Reports with the real server."
  use ExUnit.Case, async: false

  import DSPex.Servers

  alias DSPex.{Error, Evaluation, Experiments, Metric, Reports}

  @moduletag :server
  @moduletag :capture_log
  @moduletag :tmp_dir
  @moduletag timeout: 120_000

  setup_all do
    %{dspex: stored(__MODULE__.DSPex, "memory")}
  end

  # What a model says again of a question is its answer: every second row is right.
  defp evaluated(dspex, id) do
    rows =
      for n <- 1..12, do: %{question: "<b>#{n}</b>", answer: if(rem(n, 2) == 0, do: "<b>#{n}</b>", else: "?")}

    options = [metrics: [right: Metric.exact_match("answer")], evaluation: id, inputs: [:question]]
    Evaluation.run!(dspex, {"Predict", "question -> answer"}, rows, options)
  end

  test "one evaluation in every format", %{dspex: dspex} do
    made = evaluated(dspex, "one")
    assert made.scores["right"].mean == 0.5
    page = Reports.make!(dspex, made)
    assert page =~ "<!doctype html>" and page =~ "Content-Security-Policy"
    refute page =~ "<b>7</b>"
    assert Reports.make!(dspex, "one", format: :markdown) =~ "| right | 0.500 |"
    assert Reports.make!(dspex, made, format: :csv) |> String.split("\r\n", trim: true) |> length() == 13
    assert Reports.make!(dspex, made, format: :json) =~ ~s("not_finite": [])
    assert Enum.join(Reports.stream(dspex, made, credit: 2)) == page
  end

  test "several are compared, into a file", %{dspex: dspex, tmp_dir: folder} do
    made = for id <- ["a", "b"], do: evaluated(dspex, id)
    path = Path.join(folder, "both.md")
    assert Reports.write(dspex, made, path, seed: 3, resamples: 200) == :ok
    assert File.read!(path) =~ "no significant difference between b and a"
    assert File.ls!(folder) == ["both.md"]
  end

  test "an experiment, and what is not there", %{dspex: dspex, tmp_dir: folder} do
    run = Experiments.begin!(dspex, "demos", params: [k: 4])
    :ok = Experiments.log(dspex, run, f1: 0.25)
    assert Reports.write!(dspex, {:experiment, "demos"}, Path.join(folder, "runs.csv")) == :ok
    assert File.read!(Path.join(folder, "runs.csv")) =~ "param.k,metric.f1"
    assert {:error, %Error{type: :unknown_evaluation}} = Reports.make(dspex, "nobody")

    assert {:error, %Error{type: :unknown_evaluation}} =
             Reports.write(dspex, "nobody", Path.join(folder, "n.html"))

    assert File.ls!(folder) == ["runs.csv"]
  end
end
