defmodule DSPex.Binary do
  @moduledoc """
  Bytes, as opposed to text.

  Elixir has one type for both, MessagePack has two. Going out, a plain binary is text
  when it is valid UTF-8 and bytes when it is not; wrap bytes that must not be taken for
  text by accident (a PNG, a hash). Coming in, bytes are always wrapped, so that a value
  that was read can be written again unchanged.

      iex> DSPex.Binary.new(<<1, 2>>).data
      <<1, 2>>
  """
  @enforce_keys [:data]
  defstruct [:data]

  @type t :: %__MODULE__{data: binary()}

  @doc "Wraps bytes."
  @spec new(binary()) :: t()
  def new(data) when is_binary(data), do: %__MODULE__{data: data}
end
