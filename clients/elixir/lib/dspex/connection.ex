defmodule DSPex.Connection do
  @moduledoc false
  # Owns the transport and keeps a server behind it. It never writes to the transport
  # itself (callers and the writer do), so it can always read.
  #
  #   disconnected --connect--> greeting --welcome--> open --stop--> closing --> stopped
  #        ^                        |                   |
  #        +------ lost: backoff ---+-------------------+
  #
  # When the server is lost, every open call fails once, and a new server is started.
  # What stands beside it: `Gate` (who waits for a server), `Hello` (the handshake),
  # `Router` (frames), `Callers` and `Callbacks` (who waits, what runs), `Silence` (is it
  # still there) and `Backoff`.

  @behaviour :gen_statem

  require Logger

  alias DSPex.{Clock, Envelope, Error, MessagePack, OpenCalls, Options, Telemetry, Wire}
  alias DSPex.Connection.{Backoff, Callbacks, Callers, Gate, Hello, Router, Silence, Writer}

  defstruct options: nil,
            wire: nil,
            hello_id: nil,
            refusal: nil,
            closing_reason: nil,
            leaving?: false,
            attempt: 0,
            opened: nil,
            silence: nil,
            stoppers: [],
            leave_by: nil,
            gate: %Gate{},
            callers: %Callers{},
            callbacks: %Callbacks{}

  @spec child_spec({atom(), (() -> Options.t())}) :: Supervisor.child_spec()
  def child_spec(arguments) do
    %{id: __MODULE__, start: {__MODULE__, :start_link, [arguments]}, shutdown: 5_000}
  end

  # Options come in a function, so that no report of a supervisor prints them.
  @spec start_link({atom(), (() -> Options.t())}) :: {:ok, pid()} | {:error, term()}
  def start_link({name, options}) do
    :gen_statem.start_link({:local, name(name)}, __MODULE__, options, [])
  end

  @doc "The open wire; waits for it until the deadline."
  @spec wire(atom(), integer()) :: {:ok, Wire.t()} | {:error, Error.t()}
  defdelegate wire(dspex, deadline), to: Gate

  @doc """
  Says goodbye, waits until the server has left, and stays down.

  Several processes may ask: each is answered, and the soonest time counts.
  """
  @spec stop(atom(), pos_integer()) :: :ok
  def stop(dspex, timeout), do: :gen_statem.call(name(dspex), {:stop, timeout}, timeout + 5_000)

  @doc "Has new calls wait for the next server; returns when they do."
  @spec leave(atom(), reference()) :: :ok
  def leave(dspex, generation) do
    :gen_statem.call(name(dspex), {:leave, generation})
  catch
    # Stopped, or crashed: there is another server or none in any case.
    :exit, _reason -> :ok
  end

  @spec name(atom()) :: atom()
  def name(dspex), do: Module.concat(dspex, "Connection")

  @impl true
  def callback_mode, do: :state_functions

  @impl true
  def init(options) do
    Process.flag(:trap_exit, true)
    data = %__MODULE__{options: options.()}
    # After a crash: what the last connection left open can have no outcome any more.
    fail_open(data, "the connection process was restarted")
    OpenCalls.put_wire(data.options.name, {:connecting, nil})
    {:ok, :disconnected, data, [{:next_event, :internal, :connect}]}
  end

  # disconnected: no server; the next attempt is due now or when the backoff is over

  def disconnected(:internal, :connect, data), do: connect(data)
  def disconnected({:timeout, :backoff}, :connect, data), do: connect(data)
  def disconnected({:call, from}, {:wire, deadline}, data), do: wait_for_wire(data, from, deadline)
  def disconnected({:call, from}, {:stop, _timeout}, data), do: stopped("was stopped", stopper(data, from))
  def disconnected(event, content, data), do: anywhere(event, content, data)

  # greeting: the server was started and has not answered hello

  def greeting({:call, from}, {:wire, deadline}, data), do: wait_for_wire(data, from, deadline)
  def greeting({:call, from}, {:stop, _timeout}, data), do: stopped("was stopped", stopper(data, from))
  def greeting(:state_timeout, :handshake, data), do: lost("did not answer system.hello in time", data)
  def greeting(event, content, data), do: anywhere(event, content, data)

  # open: calls flow; those of a server that is about to leave end there, new ones wait

  def open({:call, from}, {:wire, deadline}, %{leaving?: true} = data),
    do: wait_for_wire(data, from, deadline)

  def open({:call, from}, {:wire, _deadline}, data), do: reply(from, {:ok, data.wire})
  def open({:call, from}, {:stop, timeout}, data), do: data |> stopper(from) |> say_goodbye(timeout)
  def open({:timeout, :probe}, :tick, data), do: probe(data)

  def open(:info, {:leaving, generation}, data), do: {:keep_state, leave_behind(data, generation)}

  def open({:call, from}, {:leave, generation}, data),
    do: {:keep_state, leave_behind(data, generation), [{:reply, from, :ok}]}

  def open(event, content, data), do: anywhere(event, content, data)

  # closing: goodbye was said; open calls end, then the server leaves

  def closing({:call, from}, {:wire, _deadline}, data), do: reply(from, draining(data))
  def closing({:call, from}, {:stop, timeout}, data), do: data |> stopper(from) |> leave_within(timeout)
  def closing(:state_timeout, :leave, data), do: stopped("was closed, since it did not leave in time", data)
  def closing(event, content, data), do: anywhere(event, content, data)

  # stopped: for good

  def stopped({:call, from}, {:wire, _deadline}, data), do: reply(from, draining(data))
  def stopped({:call, from}, _stop_or_leave, _data), do: reply(from, :ok)
  def stopped(_event, _content, _data), do: :keep_state_and_data

  # what may happen in any state

  defp anywhere({:call, from}, {:leave, _generation}, _data), do: reply(from, :ok)
  defp anywhere(:info, {:watch, id, pid, generation}, data), do: watch(data, id, pid, generation)
  defp anywhere(:info, {:forget, id, why}, data), do: forget(data, id, why)
  defp anywhere(:info, {:DOWN, monitor, :process, _pid, reason}, data), do: down(data, monitor, reason)
  defp anywhere(:info, message, %{wire: %Wire{}} = data), do: from_outside(message, data)
  defp anywhere(_event, _content, _data), do: :keep_state_and_data

  defp from_outside({:EXIT, writer, reason}, %{wire: %{writer: writer}} = data) when reason != :normal,
    do: lost("could not be written to", data)

  defp from_outside(message, %{wire: wire} = data) do
    case wire.transport.message(wire.handle, message) do
      {:body, body} -> body |> Router.received(heard(data)) |> routed()
      {:closed, reason} -> lost(reason, data)
      :other -> :keep_state_and_data
    end
  end

  defp routed({:ok, data}), do: {:keep_state, data}
  defp routed({{:welcomed, payload}, data}), do: welcomed(data, payload)
  defp routed({{:turned_away, payload}, data}), do: turned_away(data, payload)
  defp routed({{:lost, reason}, data}), do: lost(reason, data)

  defp leave_behind(%{wire: %{generation: generation}} = data, generation),
    do: Router.leaving(data, "it takes no new calls")

  defp leave_behind(data, _generation_before), do: data

  defp reply(from, answer), do: {:keep_state_and_data, [{:reply, from, answer}]}

  @impl true
  def terminate(_reason, _state, data) do
    if data.wire, do: data.wire.transport.close(data.wire.handle)
    :ok
  end

  @impl true
  # Secrets, models and environment are inside of functions; what else there is helps nobody.
  def format_status(_when, [_dictionary, state, data]), do: {state, %{data | options: data.options.name}}

  # -- connecting ------------------------------------------------------------------------

  defp connect(%{options: options} = data) do
    data = %{data | gate: Gate.prune(data.gate)}

    case options.transport.open(options) do
      {:ok, handle} -> greet(%{data | wire: new_wire(options, handle), opened: Clock.now_ms()})
      {:absent, reason} -> lost(reason, %{data | refusal: nil})
      {:error, reason} -> lost(reason, %{data | refusal: refused(options, reason)})
    end
  end

  defp new_wire(options, handle) do
    %Wire{
      generation: make_ref(),
      owner: self(),
      transport: options.transport,
      handle: handle,
      writer: Writer.start_link(options.transport, handle),
      max_frame_bytes: options.max_frame_bytes
    }
  end

  defp refused(options, reason),
    do: Error.new(:unavailable, "the server of #{inspect(options.name)} #{reason}")

  defp greet(data) do
    case Hello.request(data.options) do
      {:ok, payload} ->
        id = OpenCalls.next_id(data.options.name)
        Writer.write(data.wire.writer, Envelope.encode(:call, id, "system.hello", %{}, payload))
        timeout = {:state_timeout, data.options.handshake_timeout, :handshake}
        {:next_state, :greeting, %{data | hello_id: id}, [timeout]}

      {:error, error} ->
        lost("could not be greeted: #{error.message}", %{data | refusal: error})
    end
  end

  defp welcomed(data, payload) do
    with {:ok, welcome} <- MessagePack.decode(payload),
         {:ok, max_frame_bytes} <- Hello.check(welcome) do
      ready(%{data | wire: %{data.wire | max_frame_bytes: max_frame_bytes}}, welcome)
    else
      {:error, error} -> lost("is not a DSPex server: #{error.message}", %{data | refusal: error})
    end
  end

  defp ready(%{options: %{name: dspex}, wire: wire} = data, welcome) do
    metadata = %{dspex: dspex, server: welcome["server"], instance: welcome["instance"]}
    duration = System.convert_time_unit(Clock.now_ms() - data.opened, :millisecond, :native)
    Telemetry.execute([:dspex, :connection, :open], %{duration: duration}, metadata)

    OpenCalls.put_wire(dspex, {:ok, wire})
    {gate, replies} = Gate.open(data.gate, {:ok, wire})
    data = %{data | hello_id: nil, refusal: nil, gate: gate, silence: Silence.new(Clock.now_ms())}
    {:next_state, :open, data, [next_probe(data) | replies]}
  end

  defp turned_away(data, payload) do
    error =
      case MessagePack.decode(payload) do
        {:ok, fields} -> Error.from_wire(fields)
        {:error, error} -> error
      end

    lost("refused the handshake: #{error.message}", %{data | refusal: error})
  end

  defp wait_for_wire(%{refusal: nil} = data, from, deadline),
    do: {:keep_state, %{data | gate: Gate.wait(data.gate, from, deadline)}}

  # Waiting would not help: what the server refused once it refuses again.
  defp wait_for_wire(data, from, _deadline), do: reply(from, {:error, data.refusal})

  # -- who waits, what runs --------------------------------------------------------------

  defp watch(%{wire: %{generation: generation}} = data, id, pid, generation),
    do: {:keep_state, %{data | callers: Callers.watch(data.callers, id, pid)}}

  # Of a server that was lost meanwhile: the caller finds the transport closed, or its call failed.
  defp watch(_data, _id, _pid, _generation), do: :keep_state_and_data

  defp forget(data, id, why) do
    silence = if why == :overdue and data.silence, do: Silence.doubt(data.silence), else: data.silence
    {:keep_state, %{data | callers: Callers.unwatch(data.callers, id), silence: silence}}
  end

  defp down(data, monitor, reason) do
    with {:caller, :error} <- {:caller, Callers.down(data.callers, monitor)},
         {:callback, :error} <- {:callback, Callbacks.down(data.callbacks, monitor, reason, data.wire)} do
      :keep_state_and_data
    else
      {:caller, {:ok, id, callers}} -> caller_died(%{data | callers: callers}, id)
      {:callback, {:ok, callbacks}} -> {:keep_state, %{data | callbacks: callbacks}}
    end
  end

  # It wants no answer.
  defp caller_died(data, id) do
    with {:ok, _ref} <- OpenCalls.take(data.options.name, id), do: Wire.post(data.wire, :cancel, id)
    {:keep_state, data}
  end

  # -- silence and loss ------------------------------------------------------------------

  defp heard(%{silence: nil} = data), do: data
  defp heard(data), do: %{data | silence: Silence.heard(data.silence, Clock.now_ms())}

  defp next_probe(data), do: {{:timeout, :probe}, max(div(data.options.probe_after, 2), 1), :tick}

  defp probe(%{options: options} = data) do
    {what, silence} =
      Silence.tick(data.silence, Clock.now_ms(), Callers.waiting?(data.callers), Map.from_struct(options))

    if what == :ask, do: ping(data)

    if what == :silent,
      do: lost("was silent for #{options.silence_timeout} ms", data),
      else: {:keep_state, %{data | silence: silence}, [next_probe(data)]}
  end

  # Its answer is for nobody; what counts is that something is heard.
  defp ping(data) do
    id = OpenCalls.next_id(data.options.name)
    Writer.write(data.wire.writer, Envelope.encode(:call, id, "system.ping", %{}, <<0xC0>>))
  end

  defp lost(reason, %{stoppers: [_ | _]} = data), do: stopped(reason, data)

  defp lost(reason, data) do
    reason = if data.closing_reason, do: "#{reason} (#{data.closing_reason})", else: reason
    Logger.warning("#{inspect(data.options.name)}: the server #{reason}; #{remedy(data.options)}")
    OpenCalls.put_wire(data.options.name, {:connecting, reason})
    data = cut_off(data, reason)

    attempt = Backoff.attempt(data.attempt, data.opened && Clock.now_ms() - data.opened)
    delay = Backoff.delay_ms(data.options.backoff, attempt)

    {data, refusals} =
      refuse_waiting(%{data | attempt: attempt + 1, opened: nil, closing_reason: nil, leaving?: false})

    {:next_state, :disconnected, data, [{{:timeout, :backoff}, delay, :connect} | refusals]}
  end

  defp remedy(%{address: nil}), do: "starting another"
  defp remedy(_options), do: "connecting again"

  defp refuse_waiting(%{refusal: nil} = data), do: {%{data | gate: Gate.prune(data.gate)}, []}

  defp refuse_waiting(data) do
    {gate, refusals} = Gate.open(data.gate, {:error, data.refusal})
    {%{data | gate: gate}, refusals}
  end

  defp cut_off(%{wire: nil} = data, _reason), do: data

  defp cut_off(%{wire: wire} = data, reason) do
    # First closed, then swept: what is written from here on finds the transport closed.
    wire.transport.close(wire.handle)
    Process.unlink(wire.writer)
    Process.exit(wire.writer, :kill)
    callbacks = Callbacks.stop_all(data.callbacks)
    pending = fail_open(data, reason)
    metadata = %{dspex: data.options.name, reason: reason}
    Telemetry.execute([:dspex, :connection, :closed], %{pending: pending}, metadata)
    callers = Callers.unwatch_all(data.callers)
    %{data | wire: nil, hello_id: nil, silence: nil, callers: callers, callbacks: callbacks}
  end

  # Of all servers that there were, so that nothing stays of a caller that was killed in the
  # middle of opening its call.
  defp fail_open(data, reason) do
    message = "the server of #{inspect(data.options.name)} #{reason} with the call still open"
    error = Error.new(:connection_lost, message, maybe_executed?: true)

    Enum.count(OpenCalls.ids(data.options.name), fn id ->
      with {:ok, ref} <- OpenCalls.take(data.options.name, id), do: send(ref, {DSPex, ref, :lost, %{}, error})
    end)
  end

  # -- the end ---------------------------------------------------------------------------

  defp stopper(data, from), do: %{data | stoppers: [from | data.stoppers]}

  defp say_goodbye(data, timeout) do
    OpenCalls.put_wire(data.options.name, draining(data))
    id = OpenCalls.next_id(data.options.name)
    meta = %{"deadline_ms" => timeout}
    Writer.write(data.wire.writer, Envelope.encode(:call, id, "system.goodbye", meta, <<0x80>>))
    {:next_state, :closing, %{data | leave_by: Clock.now_ms() + timeout}, [{:state_timeout, timeout, :leave}]}
  end

  defp leave_within(data, timeout) do
    leave_by = min(data.leave_by, Clock.now_ms() + timeout)
    {:keep_state, %{data | leave_by: leave_by}, [{:state_timeout, Clock.remaining_ms(leave_by), :leave}]}
  end

  defp stopped(reason, data) do
    data = cut_off(data, reason)
    OpenCalls.put_wire(data.options.name, draining(data))
    {gate, replies} = Gate.open(data.gate, draining(data))
    replies = for(from <- data.stoppers, do: {:reply, from, :ok}) ++ replies
    {:next_state, :stopped, %{data | gate: gate, stoppers: []}, replies}
  end

  defp draining(data), do: {:error, Error.new(:draining, "#{inspect(data.options.name)} is being stopped")}
end
