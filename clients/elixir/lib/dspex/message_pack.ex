defmodule DSPex.MessagePack do
  @moduledoc """
  Values to bytes and back, within the limits of the protocol.

  | Elixir | on the wire | and back |
  |---|---|---|
  | `nil`, `true`, `false` | themselves | the same |
  | integer up to 64 bits; larger | integer; extension 1 | the same |
  | float; `:nan`, `:infinity`, `:neg_infinity` | float 64 | the same |
  | valid UTF-8 | str | the same |
  | `DSPex.Binary`; any other binary | bin | `DSPex.Binary` |
  | another atom | str, its name | a string |
  | list | array | the same |
  | map with atom or string keys | map | string keys |
  | map with other keys | tag `pairs` | the same |
  | tuple, `MapSet` | tags `tuple`, `set` | the same |
  | `Date`, `Time`, `NaiveDateTime` | tags `date`, `time`, `datetime` | the same |
  | `DateTime` | timestamp | the same, in UTC, to the microsecond |
  | `DSPex.Decimal`, `Tensor`, `FunctionReference`, `Tagged` | extensions 2 to 5 | the same |

  Any other struct, pid, function or reference is refused with `:value_unencodable`: a
  struct's fields are its module's business, so turn it into a map first.

      iex> bytes = DSPex.MessagePack.encode!(%{question: "Why?", k: 3})
      iex> DSPex.MessagePack.decode(bytes)
      {:ok, %{"question" => "Why?", "k" => 3}}
      iex> {:error, error} = DSPex.MessagePack.decode(<<0xC1>>)
      iex> error.type
      :value_reserved_byte
      iex> {:error, error} = DSPex.MessagePack.encode(self())
      iex> error.type
      :value_unencodable
  """

  alias DSPex.Error
  alias DSPex.MessagePack.{Decoder, Encoder}

  @doc "Writes a value."
  @spec encode(term()) :: {:ok, binary()} | {:error, Error.t()}
  def encode(value) do
    {:ok, IO.iodata_to_binary(Encoder.pack(value, 0))}
  catch
    {:refused, type, message} -> {:error, Error.new(type, message)}
  end

  @doc "Writes a value or raises `DSPex.Error`."
  @spec encode!(term()) :: binary()
  def encode!(value), do: bang(encode(value))

  @doc """
  Reads one whole value. Time and memory are bounded by the limits, whatever the bytes.

  The error's type is one of the `value_…` codes.
  """
  @spec decode(binary()) :: {:ok, term()} | {:error, Error.t()}
  def decode(payload) when is_binary(payload) do
    {:ok, Decoder.decode(payload)}
  catch
    {:refused, type, message} -> {:error, Error.new(type, message)}
  end

  @doc "Reads one whole value or raises `DSPex.Error`."
  @spec decode!(binary()) :: term()
  def decode!(payload), do: bang(decode(payload))

  defp bang({:ok, value}), do: value
  defp bang({:error, error}), do: raise(error)
end
