defmodule DSPex.Evaluation.Figures do
  @moduledoc """
  What the rows of an evaluation come to by one metric.

  * `scored`, `failed`: rows that have a score, and such that have none
  * `passed`: how many have passed, or nil of a metric without verdicts
  * `mean`: where a row without a score counts as the evaluation's `failure_score`; `mean_scored`
    leaves those out; nil of no rows
  * `low`, `high`: the ends of the mean's interval; nil before the end, and of fewer than two rows
  * `stdev`: the standard deviation of the rows, likewise
  """

  defstruct [:passed, :mean, :mean_scored, :low, :high, :stdev, scored: 0, failed: 0]

  @type t :: %__MODULE__{
          scored: non_neg_integer(),
          failed: non_neg_integer(),
          passed: non_neg_integer() | nil,
          mean: float() | nil,
          mean_scored: float() | nil,
          low: float() | nil,
          high: float() | nil,
          stdev: float() | nil
        }

  @doc false
  @spec from_wire(map()) :: t()
  def from_wire(row) do
    %__MODULE__{
      scored: row["scored"],
      failed: row["failed"],
      passed: row["passed"],
      mean: row["mean"],
      mean_scored: row["mean_scored"],
      low: row["low"],
      high: row["high"],
      stdev: row["stdev"]
    }
  end
end
