defmodule DSPex.Metric.Scores do
  @moduledoc """
  What `DSPex.Metric.score/4` found.

  * `results`: of each row, in the order of the rows: `{:ok, score}`, a `DSPex.Metric.Score`, or
    `{:error, error}`
  * `mean`: of the scores, or nil where there are none
  * `scored`, `failed`: how many rows have a score, and how many an error
  * `passed`: how many have passed, or nil where no score has a verdict
  * `usage`: what language models have cost: `"lm_calls"`, `"tokens_in"`, …; empty where none was asked
  """

  alias DSPex.Error
  alias DSPex.Metric.Score

  defstruct results: [], mean: nil, scored: 0, failed: 0, passed: nil, usage: %{}, meta: %{}

  @type t :: %__MODULE__{
          results: [{:ok, Score.t()} | {:error, Error.t()}],
          mean: float() | nil,
          scored: non_neg_integer(),
          failed: non_neg_integer(),
          passed: non_neg_integer() | nil,
          usage: map(),
          meta: map()
        }

  @doc false
  @spec from_wire(term(), map()) :: {:ok, t()} | {:error, Error.t()}
  def from_wire(%{"results" => results} = told, meta) when is_list(results) do
    {:ok,
     %__MODULE__{
       results: Enum.map(results, &result/1),
       mean: told["mean"],
       scored: told["scored"],
       failed: told["failed"],
       passed: told["passed"],
       usage: told["usage"] || %{},
       meta: meta
     }}
  end

  def from_wire(other, _meta) do
    {:error,
     Error.new(:internal, "scores were expected, #{inspect(other, limit: 3, printable_limit: 40)} came")}
  end

  defp result(%{"error" => error}), do: {:error, Error.from_wire(error)}
  defp result(score), do: {:ok, Score.from_wire(score)}

  defimpl Inspect do
    def inspect(scores, _options),
      do: "#DSPex.Metric.Scores<mean #{scores.mean}, #{scores.scored} scored, #{scores.failed} failed>"
  end
end
