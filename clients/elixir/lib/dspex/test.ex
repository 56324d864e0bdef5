defmodule DSPex.Test do
  @moduledoc """
  A server for tests, inside the BEAM: your code calls `DSPex` as always, and your test
  says what comes back. No Python, no process outside.

  An instance of your own for each test makes async tests independent:

      test "answers" do
        handler = fn "program.predict", %{"inputs" => %{"question" => _}}, _meta ->
          {:prediction, %{"answer" => "42"}}
        end

        start_supervised!({DSPex, name: __MODULE__, transport: DSPex.Test, transport_options: [handler: handler]})
        assert DSPex.predict!(__MODULE__, "qa", %{question: "Six by nine?"}).answer == "42"
      end

  The handler runs in a process for each call and takes method, payload and meta. It returns

  * `{:reply, value}` or `{:reply, value, meta}`
  * `{:prediction, fields}`
  * `{:stream, items, fields}`: items are maps, or strings that become tokens
  * `{:fail, %DSPex.Error{}}`
  * `:silence`: no answer at all

  For tests of the conversation itself give `controller: self()` instead. The handshake
  is answered; every later frame comes as
  `{DSPex.Test, server, %DSPex.Envelope{}, payload}`, and `send_frame/6`, `send_body/2` and
  `exit/2` are what the server does; `busy/2` makes it stop reading. `welcome: map` changes the answer to the handshake,
  `welcome: :silence` leaves it out, `welcome: %DSPex.Error{}` refuses it. `error: reason` means that
  there is no server to start.
  """

  @behaviour DSPex.Transport

  import Kernel, except: [send: 2, exit: 1]

  alias DSPex.{Envelope, Error, MessagePack, Tagged}

  @enforce_keys [:pid, :busy]
  defstruct @enforce_keys

  @typedoc "What plays the server."
  @type server :: %__MODULE__{pid: pid(), busy: :atomics.atomics_ref()}

  @welcome %{
    "protocol" => "dspex",
    "version" => 1,
    "server" => "dspex/test",
    "instance" => "test",
    "max_frame_bytes" => 16_777_216,
    "max_queue" => 4096,
    "workers" => 1,
    "capabilities" => ["callbacks", "programs", "streams"],
    "default_deadline_ms" => 120_000
  }

  @doc "Sends a frame from the server to the client; the payload is a value."
  @spec send_frame(server(), Envelope.kind(), non_neg_integer(), String.t() | nil, Envelope.meta(), term()) ::
          :ok
  def send_frame(server, kind, id, method, meta, payload) do
    send_body(server, Envelope.encode(kind, id, method, meta, MessagePack.encode!(payload)))
  end

  @doc "Sends any bytes as one frame body."
  @spec send_body(server(), iodata()) :: :ok
  def send_body(%__MODULE__{pid: pid}, body), do: tell(pid, {:out, IO.iodata_to_binary(body)})

  @doc "The server dies; `reason` is in words."
  @spec exit(server(), String.t()) :: :ok
  def exit(%__MODULE__{pid: pid}, reason \\ "exited with status 137"), do: tell(pid, {:exit, reason})

  @doc "Whether the server has stopped reading: writes are refused as `:busy`."
  @spec busy(server(), boolean()) :: :ok
  def busy(%__MODULE__{busy: flag}, busy?), do: :atomics.put(flag, 1, if(busy?, do: 1, else: 0))

  # -- the transport ---------------------------------------------------------------------

  @impl DSPex.Transport
  def open(options) do
    settings = Map.new(options.transport_options || [])
    owner = self()
    flag = :atomics.new(1, [])

    case settings do
      %{error: reason} ->
        {:error, reason}

      _ ->
        pid =
          spawn(fn ->
            Process.monitor(owner)
            serve(%{owner: owner, flag: flag, settings: settings, calls: %{}})
          end)

        {:ok, %__MODULE__{pid: pid, busy: flag}}
    end
  end

  @impl DSPex.Transport
  def send(%__MODULE__{pid: pid, busy: flag}, body) do
    cond do
      not Process.alive?(pid) -> :closed
      :atomics.get(flag, 1) == 1 -> :busy
      true -> tell(pid, {:in, IO.iodata_to_binary(body)})
    end
  end

  @impl DSPex.Transport
  def message(%__MODULE__{pid: pid}, {__MODULE__, pid, what}), do: what
  def message(_server, _message), do: :other

  @impl DSPex.Transport
  def close(%__MODULE__{pid: pid}) do
    monitor = Process.monitor(pid)
    Process.exit(pid, :kill)

    receive do
      {:DOWN, ^monitor, :process, _pid, _reason} -> :ok
    end
  end

  # -- the server ------------------------------------------------------------------------

  defp serve(state) do
    receive do
      {:in, body} ->
        {:ok, envelope, payload} = Envelope.decode(body)
        state |> came(envelope, MessagePack.decode!(payload)) |> serve()

      {:out, body} ->
        tell(state.owner, {__MODULE__, self(), {:body, body}})
        serve(state)

      {:exit, reason} ->
        tell(state.owner, {__MODULE__, self(), {:closed, reason}})

      # Its standard input ended.
      {:DOWN, _monitor, :process, _owner, _reason} ->
        :ok
    end
  end

  defp came(state, %{kind: :call, method: "system.hello", id: id}, hello) do
    case Map.get(state.settings, :welcome, %{}) do
      :silence -> :ok
      %Error{} = error -> out(state, :fail, id, %{}, Error.to_wire(error))
      changes -> out(state, :reply, id, %{}, Map.merge(@welcome, changes))
    end

    if pid = state.settings[:controller], do: tell(pid, {__MODULE__, :hello, hello})
    state
  end

  defp came(%{settings: %{controller: pid}} = state, envelope, payload) do
    tell(pid, {__MODULE__, %__MODULE__{pid: self(), busy: state.flag}, envelope, payload})
    state
  end

  defp came(state, %{kind: :call, method: "system.ping", id: id}, value),
    do: out(state, :reply, id, %{}, value)

  defp came(state, %{kind: :call, method: "system.goodbye", id: id}, _payload) do
    state = out(state, :reply, id, %{}, nil)
    tell(self(), {:exit, "exited with status 0"})
    state
  end

  defp came(state, %{kind: :call} = envelope, payload) do
    server = %__MODULE__{pid: self(), busy: state.flag}
    handler = Map.fetch!(state.settings, :handler)
    pid = spawn_link(fn -> answer(server, handler, envelope, payload) end)
    put_in(state.calls[envelope.id], pid)
  end

  defp came(state, %{kind: :credit, id: id, meta: %{"n" => n}}, _payload) do
    with %{^id => pid} <- state.calls, do: tell(pid, {:credit, n})
    state
  end

  defp came(state, %{kind: :cancel, id: id}, _payload) do
    with %{^id => pid} <- state.calls do
      Process.unlink(pid)
      Process.exit(pid, :kill)
      out(state, :fail, id, %{}, Error.to_wire(Error.new(:cancelled, "the caller cancelled the call")))
    end

    state
  end

  defp came(state, _other, _payload), do: state

  defp out(state, kind, id, meta, value) do
    body = Envelope.encode(kind, id, nil, meta, MessagePack.encode!(value))
    tell(state.owner, {__MODULE__, self(), {:body, IO.iodata_to_binary(body)}})
    state
  end

  defp answer(server, handler, %{id: id} = envelope, payload) do
    case handler.(envelope.method, payload, envelope.meta) do
      {:reply, value} -> send_frame(server, :reply, id, nil, %{}, value)
      {:reply, value, meta} -> send_frame(server, :reply, id, nil, meta, value)
      {:prediction, fields} -> send_frame(server, :reply, id, nil, %{}, prediction(fields))
      {:fail, error} -> send_frame(server, :fail, id, nil, %{}, Error.to_wire(error))
      {:stream, items, fields} -> stream(server, id, items, fields, Map.get(envelope.meta, "credit", 0))
      :silence -> :ok
    end
  end

  # Without credit for items there are none, as from the real server.
  defp stream(server, id, items, fields, credit) do
    if credit > 0 do
      items
      |> Stream.with_index()
      |> Enum.reduce(credit, fn {item, seq}, left ->
        left = if left == 0, do: more_credit(), else: left
        send_frame(server, :item, id, nil, %{"seq" => seq}, item(item))
        left - 1
      end)
    end

    send_frame(server, :reply, id, nil, %{}, prediction(fields))
  end

  defp more_credit do
    receive do
      {:credit, count} -> count
    end
  end

  defp item(text) when is_binary(text),
    do: %{"type" => "token", "text" => text, "field" => "answer", "last" => false}

  defp item(fields) when is_map(fields), do: fields

  defp prediction(fields), do: %Tagged{tag: "prediction", value: %{"fields" => fields}}

  defp tell(pid, message) do
    Kernel.send(pid, message)
    :ok
  end
end
