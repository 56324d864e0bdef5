defmodule DSPex.FunctionReference do
  @moduledoc """
  A function of the host by its name, as a value: what a program takes as a tool or a metric.

      iex> %DSPex.FunctionReference{name: "lookup"}.name
      "lookup"
  """
  @enforce_keys [:name]
  defstruct [:name]

  @type t :: %__MODULE__{name: String.t()}
end
