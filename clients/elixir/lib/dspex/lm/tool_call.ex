defmodule DSPex.LM.ToolCall do
  @moduledoc """
  A tool that a language model wants called, in a stream: as in `tool_calls` of the
  `DSPex.LM.Answer` that comes last, sent when all of it has been written.

  `completion` says which of several answers (`n`) it is of, counted from 0.
  """
  @enforce_keys [:name]
  defstruct [:id, :name, args: %{}, completion: 0]

  @type t :: %__MODULE__{
          id: String.t() | nil,
          name: String.t(),
          args: %{optional(String.t()) => term()},
          completion: non_neg_integer()
        }
end
