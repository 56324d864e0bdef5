defmodule DSPex.Instances do
  @moduledoc "Instances for tests: each test has its own, and it ends with the test."

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

  defp start(name, options) do
    start_supervised!({DSPex, [name: name] ++ Keyword.put_new(options, :backoff, @backoff)})
    name
  end

  @doc "The next frame that the client sent, but for the handshake."
  defmacro receive_frame(kind, timeout \\ 1_000) do
    quote do
      assert_receive {DSPex.Test, server, %Envelope{kind: unquote(kind)} = envelope, payload},
                     unquote(timeout)

      {server, envelope, payload}
    end
  end
end
