defmodule DSPex.Transport.Socket do
  @moduledoc """
  A connection to a server that runs already and listens on a Unix socket.

  `address: "unix:/run/dspex.sock"` of an instance chooses it. The server was started by
  somebody else (`dspex serve --listen unix:/run/dspex.sock`), serves others beside us, and
  lives on when we leave. The file's permissions say who may connect.

      iex> DSPex.Transport.Socket.path("unix:/run/dspex.sock")
      {:ok, "/run/dspex.sock"}
      iex> DSPex.Transport.Socket.path("tcp:localhost:80")
      :error
  """

  @behaviour DSPex.Transport

  alias DSPex.Frame

  # What `sun_path` of a Unix socket holds, without its final zero.
  @max_path_bytes 107
  # Frames that may lie in the owner's mailbox before it asks for more.
  @window 64
  # As much may wait in the BEAM for a server that does not read; then callers wait.
  @max_unsent_bytes 8 * 1024 * 1024
  # Beyond any number of bytes that could wait: at this mark the BEAM would suspend the
  # sender, and a suspended sender has no deadline.
  @no_mark 0x3FFFFFFF
  @max_packet_bytes 0x7FFFFFFF

  @doc "The path in an address; `:error` when it is no `unix:` and a path that a socket can have."
  @spec path(term()) :: {:ok, Path.t()} | :error
  def path("unix:" <> path) when byte_size(path) in 1..@max_path_bytes do
    if String.valid?(path) and not String.contains?(path, <<0>>), do: {:ok, path}, else: :error
  end

  def path(_other), do: :error

  @impl true
  def open(options) do
    {:ok, path} = path(options.address)

    case :gen_tcp.connect({:local, path}, 0, settings(options), options.handshake_timeout) do
      {:ok, socket} -> {:ok, socket}
      {:error, reason} -> refused(reason, path)
    end
  end

  defp settings(options) do
    [
      :binary,
      packet: 4,
      # A length beyond this is text on the wire; the BEAM would else reserve that much for it.
      packet_size: min(options.max_frame_bytes * Frame.drain_factor(), @max_packet_bytes),
      active: @window,
      high_watermark: @no_mark,
      high_msgq_watermark: @no_mark,
      # Closing would else wait, for minutes, until a server that does not read has read all.
      linger: {true, 0}
    ]
  end

  # Not started yet, being replaced, or with more at its door than it can greet in a moment.
  defp refused(reason, path) when reason in [:enoent, :econnrefused, :eagain, :timeout],
    do: {:absent, "is not listening at #{path} (#{reason})"}

  defp refused(reason, path), do: {:error, "cannot be reached at #{path} (#{reason})"}

  @impl true
  def send(socket, body) do
    case :inet.getstat(socket, [:send_pend]) do
      {:ok, [send_pend: unsent]} when unsent >= @max_unsent_bytes -> :busy
      {:ok, _unsent} -> sent(:gen_tcp.send(socket, body))
      {:error, _reason} -> :closed
    end
  end

  defp sent(:ok), do: :ok
  defp sent({:error, _reason}), do: :closed

  @impl true
  def message(socket, {:tcp, socket, body}), do: {:body, body}

  def message(socket, {:tcp_passive, socket}) do
    # When the socket is closed, the message that says so is on its way.
    :inet.setopts(socket, active: @window)
    :other
  end

  def message(socket, {:tcp_closed, socket}), do: {:closed, "closed the connection"}
  def message(socket, {:tcp_error, socket, :emsgsize}), do: {:closed, "sent something that is no frame"}
  def message(socket, {:tcp_error, socket, reason}), do: {:closed, "cannot be read from (#{reason})"}
  def message(_socket, _message), do: :other

  @impl true
  def close(socket) do
    :gen_tcp.close(socket)
    flush(socket)
  end

  # What this connection still had to say concerns nobody any more.
  defp flush(socket) do
    receive do
      {:tcp, ^socket, _body} -> flush(socket)
      {:tcp_passive, ^socket} -> flush(socket)
      {:tcp_closed, ^socket} -> flush(socket)
      {:tcp_error, ^socket, _reason} -> flush(socket)
      {:EXIT, ^socket, _reason} -> flush(socket)
    after
      0 -> :ok
    end
  end
end
