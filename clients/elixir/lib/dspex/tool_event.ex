defmodule DSPex.ToolEvent do
  @moduledoc """
  A tool that a prediction under way calls, or has called.

  `event` is `"start"` or `"end"`; both of one call have the same number `call`. At the start
  there are the `arguments` that the model gave, where the stream was asked for
  `:tool_arguments`; at the end the `outcome`, `"ok"`, `"error"` or `"cancelled"`, and with
  `"error"` its `code`.
  """
  defstruct [:event, :name, :call, :arguments, :outcome, :code]

  @type t :: %__MODULE__{
          event: String.t() | nil,
          name: String.t() | nil,
          call: pos_integer() | nil,
          arguments: term(),
          outcome: String.t() | nil,
          code: String.t() | nil
        }
end
