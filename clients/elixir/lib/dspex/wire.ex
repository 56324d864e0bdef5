defmodule DSPex.Wire do
  @moduledoc false
  # What a process needs to send frames by itself while a connection is open. Frames are
  # encoded and written by the process that has something to say, so that a large value
  # of one caller does not hold up the others, and the connection never waits for a pipe.

  alias DSPex.{Envelope, Error}
  alias DSPex.Connection.Writer

  @enforce_keys [:generation, :owner, :transport, :handle, :writer, :max_frame_bytes]
  defstruct @enforce_keys

  @type t :: %__MODULE__{
          generation: reference(),
          owner: pid(),
          transport: module(),
          handle: term(),
          writer: pid(),
          max_frame_bytes: pos_integer()
        }

  # While the other side does not read: how long to wait before the next try.
  @longest_wait_ms 20

  @doc "Checks a body against the limit that the other side announced."
  @spec check_size(t(), iodata()) :: :ok | {:error, Error.t()}
  def check_size(wire, body) do
    case IO.iodata_length(body) do
      size when size <= wire.max_frame_bytes -> :ok
      size -> {:error, too_large(size, wire.max_frame_bytes)}
    end
  end

  @doc "Sends a body from this process; waits until `deadline` while the other side does not read."
  @spec send(t() | %{transport: module(), handle: term()}, iodata(), integer() | :infinity) ::
          :ok | :closed | :timeout
  def send(wire, body, deadline), do: send(wire, body, deadline, 1)

  defp send(wire, body, deadline, wait_ms) do
    case wire.transport.send(wire.handle, body) do
      :busy ->
        if DSPex.Clock.now_ms() >= deadline do
          :timeout
        else
          Process.sleep(wait_ms)
          send(wire, body, deadline, min(2 * wait_ms, @longest_wait_ms))
        end

      sent_or_closed ->
        sent_or_closed
    end
  end

  @doc "Hands a small frame to the writer; never waits."
  @spec post(t(), Envelope.kind(), non_neg_integer(), Envelope.meta(), iodata()) :: :ok
  def post(wire, kind, id, meta \\ %{}, payload \\ <<0xC0>>) do
    Writer.write(wire.writer, Envelope.encode(kind, id, nil, meta, payload))
  end

  defp too_large(size, limit) do
    Error.new(:frame_too_large, "the frame has #{size} bytes; the server accepts #{limit}",
      details: %{"length" => size, "limit" => limit}
    )
  end
end
