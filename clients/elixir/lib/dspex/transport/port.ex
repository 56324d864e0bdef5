defmodule DSPex.Transport.Port do
  @moduledoc """
  `dspex serve` as an Erlang port with `{:packet, 4}`.

  When the port closes, or the BEAM dies in whatever way, the server's standard input ends
  and the server leaves with all that it started.
  """

  @behaviour DSPex.Transport

  # The default of 8 KiB makes callers wait for the pipe at almost every frame.
  @busy_limits {4 * 1024 * 1024, 8 * 1024 * 1024}
  # The BEAM's own launcher sets these; a child that starts a BEAM of its own trips over them.
  @unset ~w(BINDIR EMU PROGNAME ROOTDIR)

  @impl true
  def open(options) do
    [program | arguments] = options.command ++ options.args

    case System.find_executable(program) do
      nil -> {:error, "could not be started: no executable #{inspect(program)} was found"}
      path -> spawn_port(path, arguments, options)
    end
  end

  defp spawn_port(path, arguments, options) do
    settings = [
      :binary,
      :exit_status,
      :use_stdio,
      :hide,
      packet: 4,
      args: arguments,
      env: environment(options.env.()),
      busy_limits_port: @busy_limits
    ]

    directory = if options.cd, do: [cd: options.cd], else: []
    {:ok, Port.open({:spawn_executable, path}, settings ++ directory)}
  rescue
    reason in [ErlangError, ArgumentError] ->
      {:error, "could not be started: #{Exception.message(reason)}"}
  end

  defp environment(env) do
    unset = for name <- @unset, not is_map_key(env, name), do: {String.to_charlist(name), false}

    set =
      for {name, value} <- env do
        {String.to_charlist(name), if(value, do: String.to_charlist(value), else: false)}
      end

    unset ++ set
  end

  @impl true
  def send(port, body) do
    # Suspending would leave the caller without a deadline.
    if Port.command(port, body, [:nosuspend]), do: :ok, else: :busy
  rescue
    ArgumentError -> :closed
  end

  @impl true
  def message(port, {port, {:data, body}}), do: {:body, body}
  def message(port, {port, {:exit_status, status}}), do: {:closed, "exited with status #{status}"}
  # A child that dies with writes queued gives no exit status, only this.
  def message(port, {:EXIT, port, reason}), do: {:closed, "closed its pipe (#{inspect(reason)})"}
  def message(_port, _message), do: :other

  @impl true
  def close(port) do
    kill_if_deaf(port)
    Port.close(port)
    :ok
  rescue
    ArgumentError -> :ok
  after
    receive do
      {:EXIT, ^port, _reason} -> :ok
    after
      0 -> :ok
    end
  end

  # A closing port still delivers what is queued, so a server that does not read would
  # never see its input end, and the BEAM could not even halt before it does.
  defp kill_if_deaf(port) do
    with {:queue_size, size} when size > 0 <- Port.info(port, :queue_size),
         {:os_pid, os_pid} <- Port.info(port, :os_pid) do
      # In a process of its own: the owner's mailbox is no place for this port's messages.
      {pid, monitor} = spawn_monitor(fn -> System.cmd("/bin/sh", ["-c", "kill -KILL #{os_pid}"]) end)

      receive do
        {:DOWN, ^monitor, :process, ^pid, _reason} -> :ok
      end
    end
  end
end
