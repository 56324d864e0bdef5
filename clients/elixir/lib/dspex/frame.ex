defmodule DSPex.Frame do
  @moduledoc """
  A frame: a 4-byte big-endian length and that many bytes; bytes in, bodies out.

  A Port with `{:packet, 4}` does this by itself; transports without it (a socket, a
  recording) and tests use this module. It holds at most one partial frame.

      iex> frame = DSPex.Frame.new(4096)
      iex> {:ok, [], frame} = DSPex.Frame.feed(frame, <<0, 0, 0, 2, "h">>)
      iex> {:ok, bodies, frame} = DSPex.Frame.feed(frame, "i")
      iex> {bodies, DSPex.Frame.finish(frame)}
      {["hi"], :ok}
  """

  alias DSPex.Error

  # A longer frame than the limit is drained up to this factor; beyond it the length is
  # almost certainly text that something printed on the wire.
  @drain_factor 16
  # Enough of a body that is thrown away to read its envelope.
  @head_bytes 4097

  @enforce_keys [:max_frame_bytes]
  defstruct [:max_frame_bytes, buffer: <<>>, draining: nil]

  @opaque t :: %__MODULE__{}

  @typedoc "A body, or `{:too_large, length, head}` for one that was read and thrown away."
  @type body :: binary() | {:too_large, pos_integer(), binary()}

  @doc "The factor up to which a frame over the limit is read and thrown away."
  @spec drain_factor() :: pos_integer()
  def drain_factor, do: @drain_factor

  @doc "A decoder that accepts bodies of at most `max_frame_bytes`."
  @spec new(pos_integer()) :: t()
  def new(max_frame_bytes \\ 16_777_216), do: %__MODULE__{max_frame_bytes: max_frame_bytes}

  @doc """
  Takes the next bytes of the stream; returns the bodies that are complete now.

  `{:error, error, bodies}` with `:frame_too_large` means that the stream cannot be
  trusted any more: close it.
  """
  @spec feed(t(), binary()) :: {:ok, [body()], t()} | {:error, Error.t(), [body()]}
  def feed(%__MODULE__{} = frame, data) when is_binary(data) do
    cut(%{frame | buffer: frame.buffer <> data}, [])
  end

  @doc "Says that the stream has ended: `:ok` between frames, else `:frame_truncated`."
  @spec finish(t()) :: :ok | {:error, Error.t()}
  def finish(%__MODULE__{buffer: <<>>, draining: nil}), do: :ok
  def finish(_frame), do: {:error, Error.new(:frame_truncated, "the connection ended inside a frame")}

  @doc "Puts the length before a body."
  @spec encode(iodata()) :: iodata()
  def encode(body), do: [<<IO.iodata_length(body)::32>> | body]

  defp cut(%{draining: {missing, length, head}} = frame, bodies) do
    taken = min(missing, byte_size(frame.buffer))
    <<part::binary-size(taken), rest::binary>> = frame.buffer
    head = keep_head(head, part)

    if taken == missing,
      do: cut(%{frame | buffer: rest, draining: nil}, [{:too_large, length, head} | bodies]),
      else: {:ok, Enum.reverse(bodies), %{frame | buffer: <<>>, draining: {missing - taken, length, head}}}
  end

  defp cut(%{buffer: <<length::32, _::binary>>, max_frame_bytes: max} = frame, bodies)
       when length > max * @drain_factor do
    message =
      "a frame of #{length} bytes was announced, the limit is #{frame.max_frame_bytes}; " <>
        "something other than frames is being written to the wire"

    {:error, Error.new(:frame_too_large, message), Enum.reverse(bodies)}
  end

  defp cut(%{buffer: <<length::32, rest::binary>>, max_frame_bytes: max} = frame, bodies) when length > max,
    do: cut(%{frame | buffer: rest, draining: {length, length, <<>>}}, bodies)

  defp cut(%{buffer: <<length::32, body::binary-size(length), rest::binary>>} = frame, bodies),
    do: cut(%{frame | buffer: rest}, [body | bodies])

  defp cut(frame, bodies), do: {:ok, Enum.reverse(bodies), frame}

  defp keep_head(head, part) do
    binary_part(head <> part, 0, min(@head_bytes, byte_size(head) + byte_size(part)))
  end
end
