defmodule DSPex.Instances do
  @moduledoc "Instances for tests: each test has its own, and it ends with the test."

  import ExUnit.Assertions
  import ExUnit.Callbacks, only: [start_supervised!: 1]

  alias DSPex.{Envelope, Test}

  @backoff {1, 5}

  @doc "An instance whose server is played by the calling test."
  def controlled(name, options \\ [], settings \\ []) do
    start(name, [transport: Test, transport_options: [controller: self()] ++ settings] ++ options)
  end

  @doc "An instance whose server is a handler."
  def handled(name, handler, options \\ []) do
    start(name, [transport: Test, transport_options: [handler: handler]] ++ options)
  end

  @doc "An instance with `fake_server.py` behind a real port."
  def faked(name, mode, options \\ []) do
    script = Path.join(__DIR__, "fake_server.py")
    start(name, [command: ["python3", script, mode]] ++ options)
  end

  @doc "Starts `fake_server.py` listening at a path; ends with `quit/1`, or with the calling process."
  def listening(path, mode) do
    script = Path.join(__DIR__, "fake_server.py")
    python = System.find_executable("python3")
    port = Port.open({:spawn_executable, python}, [:binary, args: [script, mode, path]])
    assert_receive {^port, {:data, "listening\n"}}
    port
  end

  @doc "Ends what `listening/2` started; returns when its socket is gone."
  def quit(port, path) do
    Port.close(port)
    gone(path)
  end

  defp gone(path), do: if(File.exists?(path), do: Process.sleep(2) && gone(path))

  @doc "An instance that connects to a path."
  def connected(name, path, options \\ []), do: start(name, [address: "unix:" <> path] ++ options)

  defp start(name, options) do
    start_supervised!({DSPex, [name: name] ++ Keyword.put_new(options, :backoff, @backoff)})
    name
  end

  @doc """
  A BEAM of its own with an instance that is connected to a path.

  What is returned takes `{:open, program, inputs, options}`, a call that is left open there, and `:kill`.
  """
  def peer({path, lms}) do
    # Spoken to over its standard streams: no names, no network. Linked to the test.
    {:ok, peer, _node} = :peer.start_link(%{connection: :standard_io, args: code_paths()})
    {:ok, _started} = :peer.call(peer, Application, :ensure_all_started, [:dspex])
    :ok = :peer.call(peer, __MODULE__, :settle, [path, lms])
    os_pid = :peer.call(peer, System, :pid, [])

    fn
      {:open, program, inputs, options} ->
        true = is_pid(:peer.call(peer, __MODULE__, :leave_open, [program, inputs, options]))

      :kill ->
        Process.unlink(peer)
        {_, 0} = System.cmd("kill", ["-KILL", os_pid])
    end
  end

  defp code_paths, do: Enum.flat_map(:code.get_path(), &['-pa', &1])

  @doc false
  def settle(path, lms) do
    me = self()

    spawn(fn ->
      {:ok, _} = DSPex.start_link(name: __MODULE__, address: "unix:" <> path, lms: lms)
      send(me, {:pinged, DSPex.ping(__MODULE__)})
      Process.sleep(:infinity)
    end)

    receive do
      {:pinged, {:ok, nil}} -> :ok
    end
  end

  @doc false
  def leave_open(program, inputs, options),
    do: spawn(fn -> DSPex.predict(__MODULE__, program, inputs, options) end)

  @doc "The next frame that the client sent, but for the handshake."
  defmacro receive_frame(kind, timeout \\ 10_000) do
    quote do
      assert_receive {DSPex.Test, server, %Envelope{kind: unquote(kind)} = envelope, payload},
                     unquote(timeout)

      {server, envelope, payload}
    end
  end
end
