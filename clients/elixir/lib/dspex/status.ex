defmodule DSPex.Status do
  @moduledoc """
  What a prediction under way is doing.

  `stage` is `"module"`, `"lm"` or `"tool"`, `event` is `"start"` or `"end"`, `name` says
  which module, model or tool; `message` is a sentence for people. The event `"retry"` of a
  module says that the tokens of that predictor are void and come again (`DSPex.Choices`).
  """
  defstruct [:message, :stage, :event, :name]

  @type t :: %__MODULE__{
          message: String.t() | nil,
          stage: String.t() | nil,
          event: String.t() | nil,
          name: String.t() | nil
        }
end
