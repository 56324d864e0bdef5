defmodule DSPex.Connection.Writer do
  @moduledoc false
  # Writes small frames (CANCEL, CREDIT, NOTE, pings) for processes that must not wait.
  # If the connection wrote them itself, both sides could wait for each other to read.

  alias DSPex.Wire

  @spec start_link(module(), term()) :: pid()
  def start_link(transport, handle) do
    spawn_link(fn -> loop(transport, handle) end)
  end

  @spec write(pid(), iodata()) :: :ok
  def write(writer, body) do
    send(writer, {:write, body})
    :ok
  end

  defp loop(transport, handle) do
    receive do
      {:write, body} ->
        # Until the pipe takes it or ends: the connection's probe sees to it that it does.
        wire = %{transport: transport, handle: handle}
        if Wire.send(wire, body, :infinity) == :ok, do: loop(transport, handle)
    end
  end
end
