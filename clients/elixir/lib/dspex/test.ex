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

  * `{:frames, frames}`: `{kind, meta, value}` as they are, kinds `:item`, `:reply`, `:fail`

  ## One instance for all tests

  Where your application starts its instance itself, configure the transport there and say
  in each test what comes back to *its* processes:

      {DSPex, name: MyApp.DSPex, transport: DSPex.Test}

      test "answers" do
        DSPex.Test.stub(MyApp.DSPex, fn "program.predict", _payload, _meta -> {:prediction, %{"answer" => "42"}} end)
        assert MyApp.answer("Six by nine?") == "42"
      end

  A stub is owned by the test process that sets it and holds for that process, for tasks
  (`$callers`) and for processes that were started under it (`$ancestors`), so async tests
  do not see each other's. Without a stub the instance's `handler:` answers; without that the call fails.

  ## Recorded answers

  `DSPex.Test.Recorder` writes down what a real server answers, and `replay/2` gives it
  again without one.

  ## The conversation itself

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
  alias DSPex.Test.Recording

  @enforce_keys [:pid, :busy]
  defstruct @enforce_keys ++ [:dspex]

  @typedoc "What answers a call: method, payload and meta to one of the answers above."
  @type handler :: (String.t(), term(), Envelope.meta() -> tuple() | :silence)

  @typedoc "What plays the server."
  @type server :: %__MODULE__{pid: pid(), busy: :atomics.atomics_ref(), dspex: atom()}

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

  @doc """
  From now on `handler` answers what the calling process and its own ask of the instance.
  """
  @spec stub(DSPex.t(), handler()) :: :ok
  def stub(dspex, handler) when is_atom(dspex) and is_function(handler, 3) do
    Process.put({__MODULE__, dspex}, handler)
    :ok
  end

  @doc """
  Like `stub/2` with the answers of a recording; raises when the file cannot be read.

  A call is found by method, program and payload. Equal calls get their answers in the
  order recorded; one that is not in the recording fails and says so.
  """
  @spec replay(DSPex.t(), Path.t()) :: :ok
  def replay(dspex, path), do: stub(dspex, Recording.handler(path))

  # The stub of whoever is calling: its own, or of a process on whose behalf it runs.
  defp stub_here(dspex) do
    key = {__MODULE__, dspex}
    others = Process.get(:"$callers", []) ++ Process.get(:"$ancestors", [])
    Process.get(key) || Enum.find_value(others, &stub_of(&1, key))
  end

  defp stub_of(name, key) when is_atom(name), do: name |> Process.whereis() |> stub_of_pid(key)
  defp stub_of(pid, key), do: stub_of_pid(pid, key)

  defp stub_of_pid(pid, key) when is_pid(pid) and node(pid) == node() do
    with {:dictionary, entries} <- Process.info(pid, :dictionary),
         {_key, handler} <- List.keyfind(entries, key, 0),
         do: handler,
         else: (_ -> nil)
  end

  defp stub_of_pid(_nobody, _key), do: nil

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

        {:ok, %__MODULE__{pid: pid, busy: flag, dspex: options.name}}
    end
  end

  @impl DSPex.Transport
  def send(%__MODULE__{pid: pid, busy: flag, dspex: dspex}, body) do
    cond do
      not Process.alive?(pid) -> :closed
      :atomics.get(flag, 1) == 1 -> :busy
      true -> tell(pid, {:in, IO.iodata_to_binary(body), stub_here(dspex)})
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
      {:in, body, stub} ->
        {:ok, envelope, payload} = Envelope.decode(body)
        state |> came(envelope, MessagePack.decode!(payload), stub) |> serve()

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

  defp came(state, %{kind: :call, method: "system.hello", id: id}, hello, _stub) do
    case Map.get(state.settings, :welcome, %{}) do
      :silence -> :ok
      %Error{} = error -> out(state, :fail, id, %{}, Error.to_wire(error))
      changes -> out(state, :reply, id, %{}, Map.merge(@welcome, changes))
    end

    if pid = state.settings[:controller], do: tell(pid, {__MODULE__, :hello, hello})
    state
  end

  defp came(%{settings: %{controller: pid}} = state, envelope, payload, nil) do
    tell(pid, {__MODULE__, %__MODULE__{pid: self(), busy: state.flag}, envelope, payload})
    state
  end

  defp came(state, %{kind: :call, method: "system.ping", id: id}, value, _stub),
    do: out(state, :reply, id, %{}, value)

  defp came(state, %{kind: :call, method: "system.goodbye", id: id}, _payload, _stub) do
    state = out(state, :reply, id, %{}, nil)
    tell(self(), {:exit, "exited with status 0"})
    state
  end

  defp came(state, %{kind: :call} = envelope, payload, stub) do
    server = %__MODULE__{pid: self(), busy: state.flag}
    handler = stub || Map.get(state.settings, :handler, &unanswered/3)
    pid = spawn_link(fn -> answer(server, handler, envelope, payload) end)
    put_in(state.calls[envelope.id], pid)
  end

  defp came(state, %{kind: :credit, id: id, meta: %{"n" => n}}, _payload, _stub) do
    with %{^id => pid} <- state.calls, do: tell(pid, {:credit, n})
    state
  end

  defp came(state, %{kind: :cancel, id: id}, _payload, _stub) do
    with %{^id => pid} <- state.calls do
      Process.unlink(pid)
      Process.exit(pid, :kill)
      out(state, :fail, id, %{}, Error.to_wire(Error.new(:cancelled, "the caller cancelled the call")))
    end

    state
  end

  defp came(state, _other, _payload, _stub), do: state

  defp unanswered(method, _payload, _meta) do
    message =
      "nothing answers #{method} here: call DSPex.Test.stub/2 in the test, or start the instance with handler:"

    {:fail, Error.new(:internal, message)}
  end

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
      {:stream, items, fields} -> send_frames(server, envelope, stream(items, fields))
      {:frames, frames} -> send_frames(server, envelope, frames)
      :silence -> :ok
    end
  end

  defp stream(items, fields) do
    for({item, seq} <- Stream.with_index(items), do: {:item, %{"seq" => seq}, item(item)}) ++
      [{:reply, %{}, prediction(fields)}]
  end

  # Without credit for items there are none, as from the real server.
  defp send_frames(server, %{id: id, meta: meta}, frames) do
    credit = Map.get(meta, "credit", 0)
    frames = if credit == 0, do: Enum.reject(frames, &match?({:item, _, _}, &1)), else: frames

    Enum.reduce(frames, credit, fn {kind, meta, value}, left ->
      left = if kind == :item and left == 0, do: more_credit(), else: left
      send_frame(server, kind, id, nil, meta, value)
      if kind == :item, do: left - 1, else: left
    end)
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
