defmodule DSPex.DocTest do
  @moduledoc "The examples in the documentation say what is so."
  use ExUnit.Case, async: true

  doctest DSPex.Binary
  doctest DSPex.Decimal
  doctest DSPex.Envelope
  doctest DSPex.Error
  doctest DSPex.Frame
  doctest DSPex.FunctionReference
  doctest DSPex.MessagePack
  doctest DSPex.Options
  doctest DSPex.Prediction
  doctest DSPex.Program
  doctest DSPex.Signature
  doctest DSPex.Spec
  doctest DSPex.Tagged
  doctest DSPex.Tensor
end
