defmodule DSPex.Evaluation.Row do
  @moduledoc """
  One row of an evaluation.

  * `index`, `row`: which it is in the selection, and in the dataset, from 0
  * `example`: its fields, with strings for keys
  * `result`: `{:ok, prediction}`, a `DSPex.Prediction`, or `{:error, error}`
  * `scores`: by metric `{:ok, score}`, a `DSPex.Metric.Score`, or `{:error, error}`; empty where there
    is no prediction
  * `usage`, `metric_usage`: what it has cost, and what of that the metrics have
  * `worker_ms`: the time of the program, or nil where no worker could say
  * `trace`, `requests`: where they were asked for, as of a `DSPex.Prediction`
  """

  alias DSPex.{Error, Prediction}
  alias DSPex.Metric.Score

  @enforce_keys [:index, :row, :result]
  defstruct [:index, :row, :example, :result, :worker_ms] ++
              [scores: %{}, usage: %{}, metric_usage: %{}, trace: [], requests: []]

  @type t :: %__MODULE__{
          index: non_neg_integer(),
          row: non_neg_integer(),
          example: %{optional(String.t()) => term()} | nil,
          result: {:ok, Prediction.t()} | {:error, Error.t()},
          scores: %{optional(String.t()) => {:ok, Score.t()} | {:error, Error.t()}},
          usage: map(),
          metric_usage: map(),
          worker_ms: float() | nil,
          trace: [map()],
          requests: [map()]
        }

  @doc false
  @spec from_wire(map()) :: t()
  def from_wire(told) do
    %__MODULE__{
      index: told["index"],
      row: told["row"],
      example: told["example"],
      result: result(told),
      scores: Map.new(told["scores"] || %{}, fn {name, score} -> {name, score(score)} end),
      usage: told["usage"] || %{},
      metric_usage: told["metric_usage"] || %{},
      worker_ms: told["worker_ms"],
      trace: told["trace"] || [],
      requests: told["requests"] || []
    }
  end

  defp result(%{"error" => %{} = error}), do: {:error, Error.from_wire(error)}
  defp result(told), do: Prediction.from_wire(told["prediction"], %{})

  defp score(%{"error" => error}), do: {:error, Error.from_wire(error)}
  defp score(score), do: {:ok, Score.from_wire(score)}
end
