defmodule DSPex.Connection do
  @moduledoc false
  # Owns the transport and routes: a frame comes, its envelope is read, and the payload's
  # bytes go to the process that waits for them. It never writes to the transport itself
  # (callers and the writer do), so it can always read.
  #
  #   disconnected --connect--> greeting --welcome--> open --stop--> closing --> stopped
  #        ^                        |                   |
  #        +------ lost: backoff ---+-------------------+
  #
  # When the server is lost, every open call fails once, and a new server is started.

  @behaviour :gen_statem

  require Logger

  alias DSPex.{Clock, Envelope, Error, Frame, HostFunction, MessagePack, OpenCalls, Options, Telemetry, Wire}
  alias DSPex.Connection.{Hello, Writer}

  # A server that lived this long did not die of its own start.
  @stable_ms 10_000
  @kinds %{reply: :reply, fail: :fail, item: :item}

  defstruct options: nil,
            wire: nil,
            hello_id: nil,
            goodbye: nil,
            attempt: 0,
            opened: nil,
            heard: nil,
            probed: nil,
            closing_reason: nil,
            refusal: nil,
            awaiting: [],
            watched: %{},
            callers: %{},
            callbacks: %{},
            tasks: %{}

  @spec child_spec(Options.t()) :: Supervisor.child_spec()
  def child_spec(options) do
    %{id: __MODULE__, start: {__MODULE__, :start_link, [options]}, shutdown: 5_000}
  end

  @spec start_link(Options.t()) :: {:ok, pid()} | {:error, term()}
  def start_link(options) do
    :gen_statem.start_link({:local, name(options.name)}, __MODULE__, options, [])
  end

  # How often to look whether a connection that crashed is back.
  @restart_ms 2

  @doc "The open wire; waits for it until the deadline."
  @spec wire(atom(), integer()) :: {:ok, Wire.t()} | {:error, Error.t()}
  def wire(dspex, deadline) do
    case OpenCalls.wire(dspex) do
      {:ok, %{owner: owner} = wire} ->
        if Process.alive?(owner), do: {:ok, wire}, else: await_restart(dspex, deadline)

      :connecting ->
        await_wire(dspex, deadline)

      {:error, error} ->
        {:error, error}
    end
  end

  defp await_wire(dspex, deadline) do
    :gen_statem.call(name(dspex), :wire, {:clean_timeout, Clock.remaining_ms(deadline)})
  catch
    :exit, {:timeout, _} -> {:error, unavailable(dspex)}
    # It crashed: its supervisor brings it back.
    :exit, _reason -> await_restart(dspex, deadline)
  end

  defp await_restart(dspex, deadline) do
    if Clock.remaining_ms(deadline) == 0 do
      {:error, unavailable(dspex)}
    else
      Process.sleep(@restart_ms)
      wire(dspex, deadline)
    end
  end

  defp unavailable(dspex) do
    Error.new(:unavailable, "the server of #{inspect(dspex)} did not become ready in the call's time")
  end

  @doc "Says goodbye, waits until the server has left, and stays down."
  @spec stop(atom(), pos_integer()) :: :ok
  def stop(dspex, timeout), do: :gen_statem.call(name(dspex), {:stop, timeout}, timeout + 5_000)

  defp name(dspex), do: Module.concat(dspex, "Connection")

  @impl true
  def callback_mode, do: :state_functions

  @impl true
  def init(options) do
    Process.flag(:trap_exit, true)
    data = %__MODULE__{options: options}
    # After a crash: what the last connection left open can have no outcome any more.
    fail_open(data, :_, "the connection process was restarted")
    OpenCalls.put_wire(options.name, :connecting)
    {:ok, :disconnected, data, [{:next_event, :internal, :connect}]}
  end

  # disconnected: no server; the next attempt is due now or when the backoff is over

  def disconnected(:internal, :connect, data), do: connect(data)
  def disconnected({:timeout, :backoff}, :connect, data), do: connect(data)
  def disconnected({:call, from}, :wire, data), do: wait_for_wire(from, data)
  def disconnected(event, content, data), do: anywhere(event, content, data)

  # greeting: the server was started and has not answered hello

  def greeting({:call, from}, :wire, data), do: wait_for_wire(from, data)
  def greeting(:state_timeout, :handshake, data), do: lost("did not answer system.hello in time", data)
  def greeting(event, content, data), do: anywhere(event, content, data)

  # open: calls flow

  def open({:call, from}, :wire, data), do: {:keep_state_and_data, [{:reply, from, {:ok, data.wire}}]}
  def open({:timeout, :probe}, :tick, data), do: probe(data)
  def open(event, content, data), do: anywhere(event, content, data)

  # closing: goodbye was said; open calls end, then the server leaves

  def closing(:state_timeout, :leave, data), do: stopped("was closed, since it did not leave in time", data)
  def closing({:call, from}, :wire, data), do: {:keep_state_and_data, [{:reply, from, draining(data)}]}
  def closing(event, content, data), do: anywhere(event, content, data)

  # stopped: for good

  def stopped({:call, from}, :wire, data), do: {:keep_state_and_data, [{:reply, from, draining(data)}]}
  def stopped({:call, from}, {:stop, _timeout}, _data), do: {:keep_state_and_data, [{:reply, from, :ok}]}
  def stopped(_event, _content, _data), do: :keep_state_and_data

  # what may happen in any state

  defp anywhere(:info, {:watch, id, pid}, data), do: {:keep_state, watch(data, id, pid)}
  defp anywhere(:info, {:forget, id}, data), do: {:keep_state, unwatch(data, id)}
  defp anywhere(:info, {:DOWN, monitor, :process, _pid, reason}, data), do: down(data, monitor, reason)
  defp anywhere({:call, from}, {:stop, timeout}, data), do: say_goodbye(data, from, timeout)
  defp anywhere({:timeout, :probe}, :tick, _data), do: :keep_state_and_data
  defp anywhere(:info, _message, %{wire: nil}), do: :keep_state_and_data

  defp anywhere(:info, message, %{wire: wire} = data) do
    case wire.transport.message(wire.handle, message) do
      {:body, body} -> received(body, %{data | heard: Clock.now_ms(), probed: nil})
      {:closed, reason} -> lost(reason, data)
      :other -> :keep_state_and_data
    end
  end

  @impl true
  def terminate(_reason, _state, data) do
    if data.wire, do: data.wire.transport.close(data.wire.handle)
    :ok
  end

  @impl true
  # Options hold secrets only inside a function, but also environment and models.
  def format_status(_when, [_dictionary, state, data]), do: {state, %{data | options: data.options.name}}

  # -- connecting ------------------------------------------------------------------------

  defp connect(data) do
    %{options: options} = data

    case options.transport.open(options) do
      {:ok, handle} -> greet(%{data | wire: new_wire(options, handle), opened: Clock.now_ms()})
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
    id = OpenCalls.next_id(data.options.name)

    case Hello.request(data.options) do
      {:ok, payload} ->
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

  defp ready(data, welcome) do
    %{options: %{name: dspex}, wire: wire} = data
    metadata = %{dspex: dspex, server: welcome["server"], instance: welcome["instance"]}
    duration = System.convert_time_unit(Clock.now_ms() - data.opened, :millisecond, :native)
    Telemetry.execute([:dspex, :connection, :open], %{duration: duration}, metadata)

    OpenCalls.put_wire(dspex, {:ok, wire})
    replies = for from <- data.awaiting, do: {:reply, from, {:ok, wire}}
    data = %{data | hello_id: nil, refusal: nil, awaiting: [], heard: Clock.now_ms(), probed: nil}
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

  defp wait_for_wire(from, %{refusal: nil} = data),
    do: {:keep_state, %{data | awaiting: [from | data.awaiting]}}

  # Waiting would not help: what the server refused once it refuses again.
  defp wait_for_wire(from, data), do: {:keep_state_and_data, [{:reply, from, {:error, data.refusal}}]}

  # -- frames ----------------------------------------------------------------------------

  defp received(body, data) do
    limit = data.options.max_frame_bytes

    cond do
      byte_size(body) > limit * Frame.drain_factor() -> lost("sent a frame of #{byte_size(body)} bytes", data)
      byte_size(body) > limit -> oversized(body, data)
      true -> body |> Envelope.decode() |> decoded(data)
    end
  end

  defp decoded({:ok, envelope, payload}, data), do: route(envelope, payload, data)

  # Text on the wire: its first four bytes were taken for a length, so nothing that
  # follows can be trusted.
  defp decoded({:error, %{type: :envelope_invalid, details: details} = error}, data) when details == %{},
    do: lost("sent something that is no frame: #{error.message}", data)

  defp decoded({:error, %{details: %{"kind" => 0, "id" => id}} = error}, data) do
    Wire.post(data.wire, :fail, id, %{}, MessagePack.encode!(Error.to_wire(%{error | details: %{}})))
    {:keep_state, data}
  end

  defp decoded({:error, error}, data) do
    fault(data, error)
    {:keep_state, data}
  end

  defp fault(data, error) do
    fields = %{"code" => error.type, "message" => error.message, "details" => %{}}

    Writer.write(
      data.wire.writer,
      Envelope.encode(:note, 0, "system.fault", %{}, MessagePack.encode!(fields))
    )
  end

  # Too large for us, but its envelope tells whose it is.
  defp oversized(body, data) do
    error =
      Error.new(:frame_too_large, "the server sent a frame of #{byte_size(body)} bytes", maybe_executed?: true)

    with {:ok, %{kind: kind, id: id}, _payload} when kind in [:reply, :fail, :item] <- Envelope.decode(body),
         {:ok, ref} <- OpenCalls.take(data.options.name, id) do
      send(ref, {DSPex, ref, :lost, %{}, error})
      {:keep_state, unwatch(data, id)}
    else
      _ ->
        fault(data, error)
        {:keep_state, data}
    end
  end

  defp route(%{kind: :reply, id: id}, payload, %{hello_id: id} = data), do: welcomed(data, payload)
  defp route(%{kind: :fail, id: id}, payload, %{hello_id: id} = data), do: turned_away(data, payload)

  defp route(%{kind: kind, id: id} = envelope, payload, data) when kind in [:reply, :fail] do
    case OpenCalls.take(data.options.name, id) do
      {:ok, ref} ->
        send(ref, {DSPex, ref, Map.fetch!(@kinds, kind), envelope.meta, payload})
        {:keep_state, unwatch(data, id)}

      # It lost a race with a deadline or a cancel.
      :error ->
        {:keep_state, data}
    end
  end

  defp route(%{kind: :item, id: id, meta: meta}, payload, data) do
    with {:ok, ref} <- OpenCalls.find(data.options.name, id),
         do: send(ref, {DSPex, ref, :item, meta, payload})

    {:keep_state, data}
  end

  defp route(%{kind: :call, id: id} = envelope, payload, data) do
    if running?(data, id), do: reused(data, id), else: called(envelope, payload, data)
  end

  defp route(%{kind: :cancel, id: id}, _payload, data) do
    with %{^id => {pid, _monitor}} <- data.callbacks, do: Process.exit(pid, :kill)
    {:keep_state, data}
  end

  # Functions answer with one value: there is nothing to give credit for.
  defp route(%{kind: :credit}, _payload, data), do: {:keep_state, data}

  defp route(%{kind: :note, method: method}, payload, data),
    do: noted(method, MessagePack.decode(payload), data)

  defp called(%{method: "function.call"} = envelope, payload, data) do
    %{options: options, wire: wire} = data
    {:ok, pid} = HostFunction.start(options.name, options.functions, wire, envelope, payload)
    monitor = Process.monitor(pid)
    HostFunction.go(pid)
    callbacks = Map.put(data.callbacks, envelope.id, {pid, monitor})
    {:keep_state, %{data | callbacks: callbacks, tasks: Map.put(data.tasks, monitor, envelope.id)}}
  end

  defp called(%{method: method, id: id}, _payload, data) do
    fail_callback(
      data,
      id,
      Error.new(:unknown_method, "a client has no method #{method}; it has function.call")
    )

    {:keep_state, data}
  end

  defp running?(data, id) do
    case data.callbacks do
      %{^id => {pid, _monitor}} -> Process.alive?(pid)
      _ -> false
    end
  end

  defp reused(data, id) do
    fault(data, Error.new(:call_id_reused, "call #{id} is open already"))
    {:keep_state, data}
  end

  defp fail_callback(data, id, error) do
    Wire.post(data.wire, :fail, id, %{}, MessagePack.encode!(Error.to_wire(error)))
  end

  defp noted("system.closing", {:ok, %{"message" => message}}, data) when is_binary(message),
    do: {:keep_state, %{data | closing_reason: message}}

  defp noted("system.fault", {:ok, fields}, data) do
    Logger.warning(
      "#{inspect(data.options.name)}: the server reports a fault: #{Error.from_wire(fields).message}"
    )

    {:keep_state, data}
  end

  defp noted("pool.event", {:ok, %{} = fields}, data) do
    Telemetry.execute([:dspex, :pool, :event], %{}, Map.put(fields, :dspex, data.options.name))
    {:keep_state, data}
  end

  defp noted("log.line", {:ok, %{} = fields}, data) do
    Logger.log(level(fields["level"]), fn -> "#{inspect(data.options.name)}: #{line(fields)}" end)
    {:keep_state, data}
  end

  defp noted(_method, _payload, data), do: {:keep_state, data}

  defp level(level) when level in ~w(debug info warning error), do: String.to_existing_atom(level)
  defp level(_other), do: :info

  defp line(fields) do
    {event, rest} = Map.pop(Map.delete(fields, "level"), "event", "")
    Enum.join([event | for({key, value} <- rest, do: "#{key}=#{inspect(value, limit: 10)}")], " ")
  end

  # -- who waits, who runs ---------------------------------------------------------------

  defp watch(data, id, pid) do
    # Its outcome may have come before this message.
    if OpenCalls.open?(data.options.name, id) do
      monitor = Process.monitor(pid)
      %{data | watched: Map.put(data.watched, id, monitor), callers: Map.put(data.callers, monitor, id)}
    else
      data
    end
  end

  defp unwatch(data, id) do
    case Map.pop(data.watched, id) do
      {nil, _} ->
        data

      {monitor, watched} ->
        Process.demonitor(monitor, [:flush])
        %{data | watched: watched, callers: Map.delete(data.callers, monitor)}
    end
  end

  defp down(%{callers: callers} = data, monitor, _reason) when is_map_key(callers, monitor) do
    {id, callers} = Map.pop!(callers, monitor)

    # A caller that is gone wants no answer.
    with {:ok, _ref} <- OpenCalls.take(data.options.name, id), true <- data.wire != nil do
      Wire.post(data.wire, :cancel, id)
    end

    {:keep_state, %{data | callers: callers, watched: Map.delete(data.watched, id)}}
  end

  defp down(%{tasks: tasks} = data, monitor, reason) when is_map_key(tasks, monitor) do
    {id, tasks} = Map.pop!(tasks, monitor)
    if data.wire, do: task_ended(data, id, reason)
    {:keep_state, %{data | tasks: tasks, callbacks: Map.delete(data.callbacks, id)}}
  end

  defp down(data, _monitor, _reason), do: {:keep_state, data}

  defp task_ended(_data, _id, :normal), do: :ok

  defp task_ended(data, id, :killed),
    do: fail_callback(data, id, Error.new(:cancelled, "the function was stopped"))

  defp task_ended(data, id, reason) do
    message = "the function's process died: #{inspect(reason, limit: 10, printable_limit: 200)}"
    fail_callback(data, id, Error.new(:function_failed, message))
  end

  # -- silence and loss ------------------------------------------------------------------

  defp next_probe(data), do: {{:timeout, :probe}, max(div(data.options.probe_after, 2), 1), :tick}

  # Only while somebody waits: an idle server may be as silent as it likes.
  defp probe(%{watched: watched} = data) when watched == %{},
    do: {:keep_state, %{data | probed: nil, heard: Clock.now_ms()}, [next_probe(data)]}

  defp probe(%{options: options, probed: nil} = data) do
    now = Clock.now_ms()
    quiet? = now - data.heard >= options.probe_after
    if quiet?, do: ping(data)
    {:keep_state, %{data | probed: if(quiet?, do: now)}, [next_probe(data)]}
  end

  defp probe(%{options: options, probed: probed} = data) do
    if Clock.now_ms() - probed >= options.silence_timeout,
      do: lost("was silent for #{options.silence_timeout} ms", data),
      else: {:keep_state_and_data, [next_probe(data)]}
  end

  # Its answer is for nobody; what counts is that something is heard.
  defp ping(data) do
    id = OpenCalls.next_id(data.options.name)
    Writer.write(data.wire.writer, Envelope.encode(:call, id, "system.ping", %{}, <<0xC0>>))
  end

  defp lost(reason, %{goodbye: from} = data) when from != nil, do: stopped(reason, data)

  defp lost(reason, data) do
    reason = if data.closing_reason, do: "#{reason} (#{data.closing_reason})", else: reason
    Logger.warning("#{inspect(data.options.name)}: the server #{reason}; starting another")
    data = cut_off(data, reason)
    OpenCalls.put_wire(data.options.name, :connecting)

    attempt = if data.opened && Clock.now_ms() - data.opened > @stable_ms, do: 0, else: data.attempt
    delay = backoff(data.options.backoff, attempt)
    {data, refusals} = refuse_waiting(%{data | attempt: attempt + 1, opened: nil, closing_reason: nil})
    {:next_state, :disconnected, data, [{{:timeout, :backoff}, delay, :connect} | refusals]}
  end

  defp refuse_waiting(%{refusal: nil} = data), do: {data, []}

  defp refuse_waiting(data) do
    {%{data | awaiting: []}, for(from <- data.awaiting, do: {:reply, from, {:error, data.refusal}})}
  end

  # Doubles up to the longest; jitter, so that many instances do not come back at once.
  defp backoff({first, longest}, attempt) do
    whole = min(longest, first * Integer.pow(2, min(attempt, 20)))
    div(whole, 2) + :rand.uniform(div(whole, 2) + 1)
  end

  defp cut_off(%{wire: nil} = data, _reason), do: data

  defp cut_off(%{wire: wire} = data, reason) do
    # First closed, then swept: what is written from here on finds the transport closed.
    wire.transport.close(wire.handle)
    Process.unlink(wire.writer)
    Process.exit(wire.writer, :kill)
    for {pid, _monitor} <- Map.values(data.callbacks), do: Process.exit(pid, :kill)
    for monitor <- Map.keys(data.tasks), do: Process.demonitor(monitor, [:flush])
    pending = fail_open(data, wire.generation, reason)

    Telemetry.execute([:dspex, :connection, :closed], %{pending: pending}, %{
      dspex: data.options.name,
      reason: reason
    })

    data = Enum.reduce(Map.keys(data.watched), data, &unwatch(&2, &1))
    %{data | wire: nil, hello_id: nil, callbacks: %{}, tasks: %{}}
  end

  defp fail_open(data, generation, reason) do
    message = "the server of #{inspect(data.options.name)} #{reason} with the call still open"
    error = Error.new(:connection_lost, message, maybe_executed?: true)

    Enum.count(OpenCalls.ids(data.options.name, generation), fn id ->
      with {:ok, ref} <- OpenCalls.take(data.options.name, id), do: send(ref, {DSPex, ref, :lost, %{}, error})
    end)
  end

  # -- the end ---------------------------------------------------------------------------

  defp say_goodbye(%{wire: wire, hello_id: hello_id} = data, from, timeout)
       when wire != nil and hello_id == nil do
    OpenCalls.put_wire(data.options.name, draining(data))
    id = OpenCalls.next_id(data.options.name)

    Writer.write(
      wire.writer,
      Envelope.encode(:call, id, "system.goodbye", %{"deadline_ms" => timeout}, <<0x80>>)
    )

    {:next_state, :closing, %{data | goodbye: from}, [{:state_timeout, timeout, :leave}]}
  end

  # Nobody to say goodbye to.
  defp say_goodbye(data, from, _timeout), do: stopped("was stopped", %{data | goodbye: from})

  defp stopped(reason, data) do
    data = cut_off(data, reason)
    OpenCalls.put_wire(data.options.name, draining(data))
    replies = for from <- data.awaiting, do: {:reply, from, draining(data)}
    {:next_state, :stopped, %{data | awaiting: [], goodbye: nil}, [{:reply, data.goodbye, :ok} | replies]}
  end

  defp draining(data), do: {:error, Error.new(:draining, "#{inspect(data.options.name)} is being stopped")}
end
