defmodule DSPex.Connection.Router do
  @moduledoc false
  # What a frame from the server means: whose it is, and where its payload's bytes go.
  # Payloads are not read here, but for notes.

  alias DSPex.{Envelope, Error, Frame, MessagePack, OpenCalls, Wire}
  alias DSPex.Connection.{Callbacks, Callers, Notes, Writer}

  @typedoc "The data of `DSPex.Connection`, of which this reads and changes a part."
  @type data :: %{
          :options => DSPex.Options.t(),
          :wire => Wire.t(),
          :hello_id => OpenCalls.id() | nil,
          :closing_reason => String.t() | nil,
          :leaving? => boolean(),
          :callers => Callers.t(),
          :callbacks => Callbacks.t(),
          optional(atom()) => term()
        }

  @type result :: {:ok | {:welcomed, binary()} | {:turned_away, binary()} | {:lost, String.t()}, data()}

  @doc "Takes one body; says what it means to the connection as a whole."
  @spec received(binary(), data()) :: result()
  def received(body, data) do
    limit = data.options.max_frame_bytes

    cond do
      byte_size(body) > limit * Frame.drain_factor() ->
        {{:lost, "sent a frame of #{byte_size(body)} bytes"}, data}

      byte_size(body) > limit ->
        {:ok, oversized(body, data)}

      true ->
        body |> Envelope.decode() |> decoded(data)
    end
  end

  @doc """
  The server takes no new calls, but those that it has may still end: nothing is lost by
  waiting for the next one.
  """
  @spec leaving(data(), String.t()) :: data()
  def leaving(data, why) do
    OpenCalls.put_wire(data.options.name, {:connecting, "is leaving (#{why})"})
    %{data | leaving?: true}
  end

  defp decoded({:ok, envelope, payload}, data), do: route(envelope, payload, data)

  # Text on the wire: its first four bytes were taken for a length, so nothing that
  # follows can be trusted.
  defp decoded({:error, %{type: :envelope_invalid, details: details} = error}, data) when details == %{},
    do: {{:lost, "sent something that is no frame: #{error.message}"}, data}

  defp decoded({:error, %{details: %{"kind" => 0, "id" => id}} = error}, data) when id > 0 do
    fail(data, id, %{error | details: %{}})
    {:ok, data}
  end

  defp decoded({:error, error}, data) do
    fault(data, error)
    {:ok, data}
  end

  # Too large for us, but its envelope tells whose it is.
  defp oversized(body, data) do
    message = "the server sent a frame of #{byte_size(body)} bytes"
    error = Error.new(:frame_too_large, message, maybe_executed?: true)

    case Envelope.decode(body) do
      {:ok, %{kind: kind, id: id}, _payload} when kind in [:reply, :fail, :item] ->
        settle(data, id, :lost, %{}, error)

      {:ok, %{kind: :call, id: id}, _payload} ->
        fail(data, id, Error.new(:frame_too_large, message))
        data

      _ ->
        fault(data, error)
        data
    end
  end

  # -- by kind ---------------------------------------------------------------------------

  defp route(%{kind: :reply, id: id}, payload, %{hello_id: id} = data), do: {{:welcomed, payload}, data}
  defp route(%{kind: :fail, id: id}, payload, %{hello_id: id} = data), do: {{:turned_away, payload}, data}
  defp route(envelope, payload, data), do: {:ok, pass_on(envelope, payload, data)}

  defp pass_on(%{kind: kind, id: id, meta: meta}, payload, data) when kind in [:reply, :fail],
    do: settle(data, id, kind, meta, payload)

  defp pass_on(%{kind: :item, id: id, meta: meta}, payload, data) do
    with {:ok, ref} <- OpenCalls.find(data.options.name, id),
         do: send(ref, {DSPex, ref, :item, meta, payload})

    data
  end

  defp pass_on(%{kind: :call, method: "function.call", id: id} = envelope, payload, data) do
    if Callbacks.open?(data.callbacks, id) do
      fault(data, Error.new(:call_id_reused, "call #{id} is open already"))
      data
    else
      %{data | callbacks: Callbacks.start(data.callbacks, data.options, data.wire, envelope, payload)}
    end
  end

  defp pass_on(%{kind: :call, method: method, id: id}, _payload, data) do
    fail(data, id, Error.new(:unknown_method, "a client has no method #{method}; it has function.call"))
    data
  end

  defp pass_on(%{kind: :cancel, id: id}, _payload, data) do
    Callbacks.cancel(data.callbacks, id, data.wire)
    data
  end

  defp pass_on(%{kind: :credit, id: id, meta: meta}, _payload, data) do
    Callbacks.credit(data.callbacks, id, meta)
    data
  end

  defp pass_on(%{kind: :note, method: method}, payload, data) do
    case {method, MessagePack.decode(payload)} do
      {"system.closing", {:ok, %{"message" => message} = fields}} when is_binary(message) ->
        closing(data, message, fields["code"])

      {_method, decoded} ->
        Notes.noted(data.options.name, method, decoded)
        data
    end
  end

  defp closing(data, message, "draining"), do: leaving(%{data | closing_reason: message}, message)
  defp closing(data, message, _code), do: %{data | closing_reason: message}

  # Where nobody is found the frame lost a race with a deadline or a cancel.
  defp settle(data, id, kind, meta, content) do
    with {:ok, ref} <- OpenCalls.take(data.options.name, id), do: send(ref, {DSPex, ref, kind, meta, content})
    %{data | callers: Callers.unwatch(data.callers, id)}
  end

  # -- what is answered ------------------------------------------------------------------

  defp fail(data, id, error),
    do: Wire.post(data.wire, :fail, id, %{}, MessagePack.encode!(Error.to_wire(error)))

  defp fault(data, error) do
    fields = %{"code" => error.type, "message" => error.message, "details" => %{}}
    body = Envelope.encode(:note, 0, "system.fault", %{}, MessagePack.encode!(fields))
    Writer.write(data.wire.writer, body)
  end
end
