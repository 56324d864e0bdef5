defmodule DSPex.Token do
  @moduledoc """
  A piece of text of a prediction under way: what was added to an output field.

  `field` and `predictor` are names; `last?` says that the field is complete.
  """
  @enforce_keys [:text]
  defstruct [:text, :field, :predictor, last?: false]

  @type t :: %__MODULE__{
          text: String.t(),
          field: String.t() | nil,
          predictor: String.t() | nil,
          last?: boolean()
        }

  defimpl String.Chars do
    def to_string(token), do: token.text
  end
end
