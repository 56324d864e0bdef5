defmodule DSPex.Token do
  @moduledoc """
  A piece of text of a prediction under way: what was added to an output field.

  `field` and `predictor` are names, `predictor` nil for one that is none of the program's.
  `run` counts the runs of that predictor, such as the turns of an agent; `last?` says that the
  field is complete. `completion` says which of several (`n`) it is of, counted from 0.
  """
  @enforce_keys [:text]
  defstruct [:text, :field, :predictor, :run, completion: 0, last?: false]

  @type t :: %__MODULE__{
          text: String.t(),
          field: String.t() | nil,
          predictor: String.t() | nil,
          run: pos_integer() | nil,
          completion: non_neg_integer(),
          last?: boolean()
        }

  defimpl String.Chars do
    def to_string(token), do: token.text
  end
end
