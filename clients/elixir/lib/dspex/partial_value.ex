defmodule DSPex.PartialValue do
  @moduledoc """
  What there is so far of an output field that is no text: a list that grows, the fields of an
  object.

  Each takes the place of the one before it of the same `field`, `predictor`, `run` and
  `completion`, which of several (`n`) it is of, counted from 0. What is
  there fits the field's type; of an object that is not complete `value` is a map of the fields
  so far. The one with `last?` is what the prediction has.
  """
  @enforce_keys [:field, :value]
  defstruct [:field, :value, :predictor, :run, completion: 0, last?: false]

  @type t :: %__MODULE__{
          field: String.t() | nil,
          value: term(),
          predictor: String.t() | nil,
          run: pos_integer() | nil,
          completion: non_neg_integer(),
          last?: boolean()
        }
end
