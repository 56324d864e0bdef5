defmodule DSPex.Status do
  @moduledoc """
  What a prediction under way is doing.

  `stage` is `"module"`, `"lm"` or `"tool"`, `event` is `"start"` or `"end"`, `name` says
  which module, model or tool; `message` is a sentence for people. The event `"retry"` of a
  module says that what came of that predictor's `run` is void and comes again, as its next one
  (`DSPex.Choices`); with other events `run` is nil.
  """
  defstruct [:message, :stage, :event, :name, :run]

  @type t :: %__MODULE__{
          message: String.t() | nil,
          stage: String.t() | nil,
          event: String.t() | nil,
          name: String.t() | nil,
          run: pos_integer() | nil
        }
end
