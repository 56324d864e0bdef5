defmodule DSPex.Envelope do
  @moduledoc """
  The envelope of a frame: kind, id, method and meta, read without touching the payload.

  A body is the MessagePack array `[kind, id, method, meta, payload]`. Whoever only routes
  decodes the first four and passes the rest on as bytes.

      iex> body = DSPex.Envelope.encode(:call, 7, "system.ping", %{"credit" => 0}, <<0xC0>>)
      iex> {:ok, envelope, payload} = DSPex.Envelope.decode(IO.iodata_to_binary(body))
      iex> {envelope.kind, envelope.id, envelope.method, envelope.meta, payload}
      {:call, 7, "system.ping", %{"credit" => 0}, <<0xC0>>}
  """

  alias DSPex.{Error, MessagePack}

  @max_bytes 4096
  @max_entries 64
  @max_id 0x7FFFFFFFFFFFFFFF
  @kinds [:call, :reply, :fail, :item, :cancel, :credit, :note]
  @numbers @kinds |> Enum.with_index() |> Map.new()
  @method ~r/\A[a-z0-9_]+(\.[a-z0-9_]+)+\z/

  @enforce_keys [:kind, :id]
  defstruct [:kind, :id, :method, meta: %{}]

  @type kind :: :call | :reply | :fail | :item | :cancel | :credit | :note
  @type scalar :: nil | boolean() | integer() | float() | atom() | String.t()
  @type meta :: %{optional(String.t()) => scalar()}
  @type t :: %__MODULE__{
          kind: kind(),
          id: non_neg_integer(),
          method: String.t() | nil,
          meta: meta()
        }

  @doc "Builds a body around an encoded payload."
  @spec encode(kind(), non_neg_integer(), String.t() | nil, meta(), iodata()) :: iodata()
  def encode(kind, id, method, meta, payload) when is_map_key(@numbers, kind) and id in 0..@max_id do
    head = for part <- [id, method, meta], do: MessagePack.encode!(part)
    [<<0x95, Map.fetch!(@numbers, kind)>>, head | payload]
  end

  @doc """
  Reads a body's envelope; returns it and the payload's bytes.

  The error is `:frame_empty`, `:envelope_invalid` or `:envelope_too_large`. Where kind and
  id could be read they stand in its details, so that a CALL can be answered.
  """
  @spec decode(binary()) :: {:ok, t(), binary()} | {:error, Error.t()}
  def decode(<<>>), do: {:error, Error.new(:frame_empty, "a frame without a body")}

  def decode(<<0x95, rest::binary>> = body) do
    {kind, rest} = integer(rest)
    {id, rest} = integer(rest)
    check(kind in 0..6, "kind must be an integer from 0 to 6")
    check(id in 0..@max_id, "id must be an integer from 0 to 2^63-1")
    {method, rest} = text_or_nil(rest)
    {meta, payload} = meta(rest)
    kind = Enum.at(@kinds, kind)
    check(id > 0 or kind == :note, "id 0 is for notes that belong to no call")
    check_method(kind, method)

    if byte_size(body) - byte_size(payload) > @max_bytes, do: throw(:too_large)
    check(payload != <<>>, "the payload is missing")
    {:ok, %__MODULE__{kind: kind, id: id, method: method, meta: meta}, payload}
  catch
    {:invalid, message} -> {:error, Error.new(:envelope_invalid, message, details: start(body))}
    :truncated when byte_size(body) > @max_bytes -> too_large(body)
    :truncated -> {:error, invalid("the body ends inside the envelope", body)}
    :too_large -> too_large(body)
  end

  def decode(_body), do: {:error, Error.new(:envelope_invalid, "a body must be a MessagePack array of five")}

  defp invalid(message, body), do: Error.new(:envelope_invalid, message, details: start(body))

  defp too_large(body) do
    message = "an envelope is longer than 4,096 bytes"
    {:error, Error.new(:envelope_too_large, message, details: start(body))}
  end

  # Kind and id of a broken envelope, where they can be read.
  defp start(<<0x95, rest::binary>>) do
    {kind, rest} = integer(rest)
    {id, _rest} = integer(rest)
    if kind in 0..6 and id in 0..@max_id, do: %{"kind" => kind, "id" => id}, else: %{}
  catch
    _unreadable -> %{}
  end

  defp check_method(kind, method) when kind in [:call, :note] do
    check(
      is_binary(method) and byte_size(method) <= 128 and method =~ @method,
      "method must be a string of words joined by dots, such as program.predict"
    )
  end

  defp check_method(_kind, method), do: check(method == nil, "method must be nil in this kind of frame")

  defp integer(<<0::1, number::7, rest::binary>>), do: {number, rest}
  defp integer(<<0xCC, number, rest::binary>>), do: {number, rest}
  defp integer(<<0xCD, number::16, rest::binary>>), do: {number, rest}
  defp integer(<<0xCE, number::32, rest::binary>>), do: {number, rest}
  defp integer(<<0xCF, number::64, rest::binary>>), do: {number, rest}
  defp integer(<<0b111::3, low::5, rest::binary>>), do: {low - 32, rest}
  defp integer(<<0xD0, number::signed-8, rest::binary>>), do: {number, rest}
  defp integer(<<0xD1, number::signed-16, rest::binary>>), do: {number, rest}
  defp integer(<<0xD2, number::signed-32, rest::binary>>), do: {number, rest}
  defp integer(<<0xD3, number::signed-64, rest::binary>>), do: {number, rest}
  defp integer(<<byte, _::binary>>) when byte not in 0xCC..0xD3, do: invalid!("an integer was expected")
  defp integer(_incomplete), do: throw(:truncated)

  defp text_or_nil(<<0xC0, rest::binary>>), do: {nil, rest}
  defp text_or_nil(rest), do: text(rest)

  defp text(<<0b101::3, size::5, rest::binary>>), do: text(rest, size)
  defp text(<<0xD9, size, rest::binary>>), do: text(rest, size)
  defp text(<<0xDA, size::16, rest::binary>>), do: text(rest, size)
  defp text(<<0xDB, size::32, rest::binary>>), do: text(rest, size)
  defp text(<<byte, _::binary>>) when byte not in 0xD9..0xDB, do: invalid!("a string was expected")
  defp text(_incomplete), do: throw(:truncated)

  defp text(_rest, size) when size > @max_bytes, do: throw(:too_large)

  defp text(rest, size) do
    case rest do
      <<text::binary-size(size), rest::binary>> ->
        check(String.valid?(text), "a string of the envelope is not UTF-8")
        {text, rest}

      _ ->
        throw(:truncated)
    end
  end

  defp meta(<<0b1000::4, count::4, rest::binary>>), do: entries(rest, count, %{})
  defp meta(<<0xDE, count::16, rest::binary>>), do: meta(rest, count)
  defp meta(<<0xDF, count::32, rest::binary>>), do: meta(rest, count)
  defp meta(<<byte, _::binary>>) when byte not in [0xDE, 0xDF], do: invalid!("meta must be a map")
  defp meta(_incomplete), do: throw(:truncated)

  defp meta(rest, count) do
    check(count <= @max_entries, "meta has more than #{@max_entries} entries")
    entries(rest, count, %{})
  end

  defp entries(rest, 0, meta), do: {meta, rest}

  defp entries(rest, missing, meta) do
    {key, rest} = text(rest)
    check(not is_map_key(meta, key), "meta has the same key twice")
    {value, rest} = scalar(rest)
    entries(rest, missing - 1, Map.put(meta, key, value))
  end

  defp scalar(<<0xC0, rest::binary>>), do: {nil, rest}
  defp scalar(<<0xC2, rest::binary>>), do: {false, rest}
  defp scalar(<<0xC3, rest::binary>>), do: {true, rest}
  defp scalar(<<0xCA, bits::binary-4, rest::binary>>), do: {MessagePack.decode!(<<0xCA, bits::binary>>), rest}
  defp scalar(<<0xCB, bits::binary-8, rest::binary>>), do: {MessagePack.decode!(<<0xCB, bits::binary>>), rest}
  defp scalar(<<byte, _::binary>>) when byte in [0xCA, 0xCB], do: throw(:truncated)
  defp scalar(<<0b101::3, _::bitstring>> = rest), do: text(rest)
  defp scalar(<<byte, _::binary>> = rest) when byte in 0xD9..0xDB, do: text(rest)

  defp scalar(<<byte, _::binary>> = rest) when byte < 0x80 or byte >= 0xE0 or byte in 0xCC..0xD3,
    do: integer(rest)

  defp scalar(<<>>), do: throw(:truncated)
  defp scalar(_container), do: invalid!("meta values must be nil, boolean, integer, float or string")

  defp check(true, _message), do: :ok
  defp check(false, message), do: invalid!(message)

  @spec invalid!(String.t()) :: no_return()
  defp invalid!(message), do: throw({:invalid, message})
end
