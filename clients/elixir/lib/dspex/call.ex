defmodule DSPex.Call do
  @moduledoc """
  One call, from the side of the process that makes it.

  `DSPex.async/4` returns one. Only the process that opened it gets its outcome; when that
  process dies, the call is cancelled.
  """

  alias DSPex.{Clock, Envelope, Error, MessagePack, OpenCalls, Telemetry, Wire}

  # What the server's own answer to the deadline may take to get here.
  @margin_ms 500
  # Between an entry that is gone and the message that says why.
  @settled_ms 5_000

  # Until the connection has noticed that its transport is closed.
  @retry_ms 1

  @event [:dspex, :call]

  @enforce_keys [:dspex, :id, :ref, :owner, :wire, :method, :deadline, :started]
  defstruct @enforce_keys ++ [credit: 0, window: 0, next_seq: 0, timer: nil]

  @typedoc "An open call; its fields are not for use."
  @opaque t :: %__MODULE__{}

  @type outcome :: {:ok, term(), Envelope.meta()} | {:error, Error.t()}

  @doc false
  @spec open(atom(), String.t(), term(), Envelope.meta(), pos_integer()) :: {:ok, t()} | {:error, Error.t()}
  def open(dspex, method, payload, meta, timeout) do
    began = {System.monotonic_time(), Clock.now_ms() + timeout}
    metadata = %{dspex: dspex, method: method}
    Telemetry.start(@event, metadata)

    with {:ok, payload} <- encode(payload),
         {:ok, call} <- send_call(dspex, method, payload, meta, began) do
      {:ok, call}
    else
      {:error, _error} = outcome ->
        Telemetry.stop(@event, elem(began, 0), metadata, outcome)
        outcome
    end
  end

  # Names what cannot be sent: the innermost part of a map that has no form on the wire.
  defp encode(payload) do
    with {:error, error} <- MessagePack.encode(payload) do
      case culprit(payload, []) do
        [] ->
          {:error, error}

        names ->
          field = names |> Enum.reverse() |> Enum.join(".")
          details = Map.put(error.details, "field", field)
          {:error, %{error | message: "#{field}: #{error.message}", details: details}}
      end
    end
  end

  defp culprit(map, names) when is_map(map) and not is_struct(map) do
    unsendable? = fn {_name, value} -> match?({:error, _}, MessagePack.encode(value)) end

    case Enum.find(map, unsendable?) do
      {name, value} when is_binary(name) or is_atom(name) -> culprit(value, [name | names])
      _ -> names
    end
  end

  defp culprit(_value, names), do: names

  # A call that was not written is written again once there is a new wire. Its time counts
  # from the first try.
  defp send_call(dspex, method, payload, meta, {_started, deadline} = began) do
    if Clock.remaining_ms(deadline) > 0,
      do: send_once(dspex, method, payload, meta, began),
      else: {:error, Error.new(:deadline, "the call's time was over before it could be sent")}
  end

  defp send_once(dspex, method, payload, meta, {_started, deadline} = began) do
    with {:ok, wire} <- DSPex.Connection.wire(dspex, deadline),
         {:ok, call, body} <- prepare(dspex, wire, method, payload, meta, began),
         :ok <- add(call) do
      case Wire.send(wire, body, deadline) do
        :ok ->
          {:ok, call}

        :timeout ->
          withdraw(call, :overdue)
          {:error, Error.new(:deadline, "the call's time was over before the server read it")}

        :closed ->
          withdraw(call, :closed)
          if Clock.remaining_ms(deadline) > 0, do: Process.sleep(@retry_ms)
          send_call(dspex, method, payload, meta, began)
      end
    end
  end

  defp add(call) do
    with {:error, error} <- OpenCalls.add(call.dspex, call.id, call.wire, call.ref) do
      release(call)
      {:error, error}
    end
  end

  defp prepare(dspex, wire, method, payload, meta, {started, deadline}) do
    meta = Map.put(meta, "deadline_ms", max(Clock.remaining_ms(deadline), 1))

    with {:ok, id} <- OpenCalls.take_id(dspex),
         body = Envelope.encode(:call, id, method, meta, payload),
         :ok <- Wire.check_size(wire, body) do
      # The alias ends with the monitor: what comes too late goes nowhere.
      ref = :erlang.monitor(:process, wire.owner, alias: :demonitor)

      {:ok,
       %__MODULE__{
         dspex: dspex,
         id: id,
         ref: ref,
         owner: self(),
         wire: wire,
         method: method,
         deadline: deadline,
         started: started,
         credit: Map.get(meta, "credit", 0),
         window: Map.get(meta, "credit", 0)
       }, body}
    end
  end

  @doc false
  @spec await(t()) :: outcome()
  def await(call) do
    if call.owner != self() do
      raise ArgumentError,
            "#{inspect(call)} belongs to #{inspect(call.owner)}: only the process that opened a call can await it"
    end

    case next(call) do
      {:item, _item, call} -> fail_here(call, credit_exceeded())
      outcome -> outcome
    end
  end

  @doc false
  # The next thing that happens to the call: an item, or its outcome.
  @spec next(t()) :: {:item, term(), t()} | outcome()
  def next(%__MODULE__{ref: ref} = call) do
    receive do
      {DSPex, ^ref, kind, meta, payload} -> arrived(call, kind, meta, payload)
      {:DOWN, ^ref, :process, _pid, _reason} -> settle_down(call)
    after
      Clock.remaining_ms(call.deadline + @margin_ms) -> overdue(call)
    end
  end

  @doc false
  # The deadline as a message, for processes that receive by themselves.
  @spec remind(t()) :: t()
  def remind(call) do
    time = Clock.remaining_ms(call.deadline + @margin_ms)
    %{call | timer: Process.send_after(self(), {DSPex, call.ref, :overdue}, time)}
  end

  @doc false
  # What a message means to this call, for processes that receive by themselves.
  @spec message(t(), term()) :: {:item, term(), t()} | outcome() | :other
  def message(%__MODULE__{ref: ref} = call, {DSPex, ref, kind, meta, payload}),
    do: arrived(call, kind, meta, payload)

  def message(%__MODULE__{ref: ref} = call, {DSPex, ref, :overdue}), do: overdue(call)
  def message(%__MODULE__{ref: ref} = call, {:DOWN, ref, :process, _pid, _reason}), do: settle_down(call)
  def message(_call, _message), do: :other

  @doc false
  @spec cancel(t()) :: :ok
  def cancel(call), do: Wire.post(call.wire, :cancel, call.id)

  @doc false
  # Gives the server leave to send as many items again as were read: in halves of the
  # window, so that there is not one frame for each item.
  @spec renew(t()) :: t()
  def renew(%{credit: credit, window: window} = call) when credit * 2 <= window do
    Wire.post(call.wire, :credit, call.id, %{"n" => window - credit})
    %{call | credit: window}
  end

  def renew(call), do: call

  @doc false
  # Cancels if need be and forgets the call: nothing of it stays in the mailbox.
  @spec abandon(t()) :: :ok
  def abandon(call) do
    error = Error.new(:cancelled, "the caller wanted no more of it", maybe_executed?: true)
    if let_go(call, :abandoned), do: settled(call, {:error, error})
    :ok
  end

  # Whether it had no outcome yet that anybody has seen.
  defp let_go(call, why) do
    case OpenCalls.take(call.dspex, call.id) do
      {:ok, _ref} ->
        cancel(call)
        forget(call, why)

      :error ->
        release(call)
    end
  end

  # Ended before the server saw it.
  defp withdraw(call, why) do
    OpenCalls.take(call.dspex, call.id)
    forget(call, why)
  end

  defp forget(call, why) do
    tell(call, {:forget, call.id, why})
    release(call)
  end

  defp tell(call, message), do: Kernel.send(call.wire.owner, message)

  defp release(%{ref: ref} = call) do
    monitored? = Process.demonitor(ref, [:flush, :info])
    if call.timer, do: Process.cancel_timer(call.timer)
    flush(ref)
    monitored?
  end

  defp flush(ref) do
    receive do
      {DSPex, ^ref, _kind, _meta, _payload} -> flush(ref)
      {DSPex, ^ref, :overdue} -> flush(ref)
    after
      0 -> :ok
    end
  end

  # Every outcome passes here, once.
  defp settled(call, outcome) do
    Telemetry.stop(@event, call.started, %{dspex: call.dspex, method: call.method}, outcome)
    outcome
  end

  @doc false
  # The server that answered the call is ending: calls from here on are for the next one.
  @spec leave(t()) :: :ok
  def leave(call), do: DSPex.Connection.leave(call.dspex, call.wire.generation)

  defp arrived(call, :reply, meta, payload) do
    release(call)
    settled(call, with({:ok, value} <- MessagePack.decode(payload), do: {:ok, value, meta}))
  end

  defp arrived(call, :fail, _meta, payload) do
    release(call)
    outcome = with {:ok, fields} <- MessagePack.decode(payload), do: {:error, Error.from_wire(fields)}
    # The next call waits for the next server, instead of being turned away by this one too.
    with {:error, %{type: :draining}} <- outcome, do: tell(call, {:leaving, call.wire.generation})
    settled(call, outcome)
  end

  defp arrived(call, :lost, _meta, error) do
    release(call)
    settled(call, {:error, error})
  end

  defp arrived(%{credit: 0} = call, :item, _meta, _payload), do: fail_here(call, credit_exceeded())

  defp arrived(%{next_seq: seq} = call, :item, %{"seq" => seq}, payload) do
    case MessagePack.decode(payload) do
      {:ok, item} -> {:item, item, %{call | next_seq: seq + 1, credit: call.credit - 1}}
      {:error, error} -> fail_here(call, error)
    end
  end

  defp arrived(call, :item, meta, _payload) do
    message = "item #{call.next_seq} was expected, number #{inspect(meta["seq"])} came"
    fail_here(call, Error.new(:envelope_invalid, message))
  end

  defp fail_here(call, error) do
    let_go(call, :abandoned)
    settled(call, {:error, error})
  end

  defp credit_exceeded,
    do: Error.new(:credit_exceeded, "the server sent an item without having credit for it")

  defp settle_down(call) do
    OpenCalls.take(call.dspex, call.id)
    release(call)
    message = "the connection process of #{inspect(call.dspex)} ended with the call still open"
    settled(call, {:error, Error.new(:connection_lost, message, maybe_executed?: true)})
  end

  defp overdue(%{ref: ref} = call) do
    case OpenCalls.take(call.dspex, call.id) do
      {:ok, _ref} ->
        cancel(call)
        forget(call, :overdue)
        message = "the call's time was over and the server said nothing"
        settled(call, {:error, Error.new(:deadline, message, maybe_executed?: true)})

      :error ->
        receive do
          {DSPex, ^ref, kind, meta, payload} -> arrived(call, kind, meta, payload)
          {:DOWN, ^ref, :process, _pid, _reason} -> settle_down(call)
        after
          @settled_ms -> settle_down(call)
        end
    end
  end

  defimpl Inspect do
    def inspect(call, _options), do: "#DSPex.Call<#{call.method} #{call.id}>"
  end
end
