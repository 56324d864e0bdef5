defmodule DSPex.Decimal do
  @moduledoc """
  A decimal number as its text, exact to the last digit; there is no arithmetic here.

      iex> DSPex.Decimal.new("19.90")
      {:ok, %DSPex.Decimal{text: "19.90"}}
      iex> DSPex.Decimal.new("19,90")
      :error
      iex> to_string(%DSPex.Decimal{text: "1E+3"})
      "1E+3"
  """
  @enforce_keys [:text]
  defstruct [:text]

  @type t :: %__MODULE__{text: String.t()}

  @form ~r/\A(?:-?(?:[0-9]+(?:\.[0-9]+)?(?:E[+-]?[0-9]+)?|Infinity)|NaN)\z/
  @max_bytes 1024

  @doc "Takes `-?digits[.digits][E[+-]digits]`, `NaN`, `Infinity` or `-Infinity`, at most 1,024 bytes."
  @spec new(String.t()) :: {:ok, t()} | :error
  def new(text) when is_binary(text) do
    if byte_size(text) <= @max_bytes and text =~ @form, do: {:ok, %__MODULE__{text: text}}, else: :error
  end

  defimpl String.Chars do
    def to_string(decimal), do: decimal.text
  end
end
