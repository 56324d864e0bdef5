defmodule DSPex.DocTest do
  @moduledoc "The examples in the documentation say what is so."
  use ExUnit.Case, async: true

  doctest DSPex.Audio
  doctest DSPex.Binary
  doctest DSPex.Choices
  doctest DSPex.Decimal
  doctest DSPex.Document
  doctest DSPex.Envelope
  doctest DSPex.Error
  doctest DSPex.Example
  doctest DSPex.File
  doctest DSPex.Frame
  doctest DSPex.FunctionReference
  doctest DSPex.History
  doctest DSPex.Image
  doctest DSPex.MessagePack
  doctest DSPex.Metric
  doctest DSPex.Optimizer
  doctest DSPex.Options
  doctest DSPex.Prediction
  doctest DSPex.Program
  doctest DSPex.Programs.State
  doctest DSPex.Session
  doctest DSPex.Signature
  doctest DSPex.Spec
  doctest DSPex.Tagged
  doctest DSPex.Tensor
  doctest DSPex.Transport.Socket
end
