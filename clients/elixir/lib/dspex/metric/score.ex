defmodule DSPex.Metric.Score do
  @moduledoc """
  How good one prediction is.

  * `score`: from 0.0 to 1.0
  * `passed?`: the verdict, or nil of a metric that only measures
  * `feedback`: what is wrong, in words, or nil
  * `parts`: of a metric made of others, theirs by name; `"precision"` and `"recall"` of F1
  """

  @enforce_keys [:score]
  defstruct [:score, :passed?, :feedback, parts: %{}]

  @type t :: %__MODULE__{
          score: float(),
          passed?: boolean() | nil,
          feedback: String.t() | nil,
          parts: %{optional(String.t()) => t()}
        }

  @doc false
  @spec from_wire(map()) :: t()
  def from_wire(%{"score" => score} = told) do
    %__MODULE__{
      score: score,
      passed?: told["passed"],
      feedback: told["feedback"],
      parts: Map.new(told["parts"] || %{}, fn {name, part} -> {name, from_wire(part)} end)
    }
  end
end
