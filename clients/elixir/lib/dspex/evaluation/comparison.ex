defmodule DSPex.Evaluation.Comparison do
  @moduledoc """
  Evaluations of the same rows, held against each other: what `DSPex.Evaluation.compare/3` gives.

      [pair] = compared.metrics["right"]
      if pair.significant?, do: IO.puts("\#{pair.b} is \#{pair.difference} better than \#{pair.a}")

  * `evaluations`: maps of `"evaluation"`, `"program"`, `"version"` and `"scores"`, in the order in which
    they were named
  * `metrics`: of each metric by name its pairs, each a `DSPex.Evaluation.Pair`
  * `left_out`: metrics that not all of them have, or not the same
  * `rows`: of each row `%{index: 0, row: 0, scores: %{"right" => [1.0, nil]}}`, in the order of the
    evaluations, nil where there is no score
  * `comparisons`: how many pairs and metrics there are, which the p-values are adjusted for
  * `dataset`, `seed`, `resamples`, `confidence`
  """

  alias DSPex.Dataset
  alias DSPex.Evaluation.Pair

  defstruct [:dataset, :seed, :resamples, :confidence, :comparisons] ++
              [evaluations: [], metrics: %{}, left_out: [], rows: []]

  @type t :: %__MODULE__{
          evaluations: [map()],
          metrics: %{optional(String.t()) => [Pair.t()]},
          left_out: [String.t()],
          rows: [%{index: non_neg_integer(), row: non_neg_integer(), scores: map()}],
          dataset: Dataset.t() | nil,
          seed: non_neg_integer(),
          resamples: pos_integer(),
          confidence: float(),
          comparisons: pos_integer()
        }

  @doc false
  @spec from_wire(map()) :: t()
  def from_wire(told) do
    %__MODULE__{
      evaluations: told["evaluations"],
      metrics: Map.new(told["metrics"], fn {name, pairs} -> {name, Enum.map(pairs, &Pair.from_wire/1)} end),
      left_out: told["left_out"],
      rows: for(row <- told["rows"], do: %{index: row["index"], row: row["row"], scores: row["scores"]}),
      dataset: dataset(told),
      seed: told["seed"],
      resamples: told["resamples"],
      confidence: told["confidence"],
      comparisons: told["comparisons"]
    }
  end

  defp dataset(%{"dataset" => nil}), do: nil

  defp dataset(told),
    do: %Dataset{id: told["dataset"], version: told["dataset_version"], select: told["select"]}
end
