defmodule DSPex.HostFunction do
  @moduledoc false
  # Runs one function that the server calls, in a task of its own, and answers the call.

  alias DSPex.{Callback, Clock, Envelope, Error, HostStream, MessagePack, Prediction, Tagged, Telemetry, Wire}

  @default_deadline_ms 120_000

  @enforce_keys [:pid, :monitor, :counters]
  defstruct @enforce_keys

  @typedoc "A function that runs; `counters` are who has claimed to answer its call, and its credit for items."
  @type t :: %__MODULE__{pid: pid(), monitor: reference(), counters: :atomics.atomics_ref()}

  @doc "Starts the function in a task that the calling process monitors."
  @spec start(atom(), map(), Wire.t(), Envelope.t(), binary()) :: t()
  def start(dspex, functions, wire, envelope, payload) do
    supervisor = DSPex.Instance.functions(dspex)
    counters = :atomics.new(2, [])
    HostStream.put_credit(counters, envelope.meta["credit"])
    run = fn -> answer(dspex, functions, wire, envelope, payload, counters) end
    # However fast it ends: a monitor of a process that is gone says so too, with
    # `:noproc`, which is why the call is claimed by whoever answers it.
    {:ok, pid} = Task.Supervisor.start_child(supervisor, run, restart: :temporary)
    %__MODULE__{pid: pid, monitor: Process.monitor(pid), counters: counters}
  end

  @doc "The server takes so many more items of the function's answer."
  @spec add_credit(t(), term()) :: :ok
  def add_credit(%__MODULE__{counters: counters, pid: pid}, count),
    do: HostStream.add_credit(counters, pid, count)

  @doc "Claims the call's one outcome; only the first to ask may answer it."
  @spec settle(t()) :: boolean()
  def settle(%__MODULE__{counters: counters}), do: claim(counters)

  @spec settled?(t()) :: boolean()
  def settled?(%__MODULE__{counters: counters}), do: :atomics.get(counters, 1) > 0

  defp claim(counters), do: :atomics.add_get(counters, 1, 1) == 1

  defp answer(dspex, functions, wire, envelope, payload, counters) do
    deadline = Clock.now_ms() + deadline_ms(envelope.meta)

    callback = %Callback{
      dspex: dspex,
      id: envelope.id,
      parent: envelope.meta["parent"],
      function: nil,
      deadline: deadline
    }

    stream = %HostStream{wire: wire, id: envelope.id, credit: counters, deadline: deadline}
    {kind, payload} = outcome(functions, callback, payload, stream)
    if claim(counters), do: reply(wire, envelope.id, kind, payload, deadline)
  end

  defp deadline_ms(%{"deadline_ms" => number}) when is_integer(number) and number > 0, do: number
  defp deadline_ms(_meta), do: @default_deadline_ms

  defp outcome(functions, callback, payload, stream) do
    with {:ok, request} <- MessagePack.decode(payload),
         {:ok, name, args} <- read(request),
         {:ok, function} <- find(functions, name),
         {:ok, value} <- run(function, args, %{callback | function: name}, stream),
         {:ok, bytes} <- MessagePack.encode(value) do
      {:reply, bytes}
    else
      {:error, error} -> {:fail, failure(error)}
    end
  end

  defp read(%{"function" => name, "args" => args}) when is_binary(name) and is_map(args),
    do: {:ok, name, Map.new(args, fn {key, value} -> {key, argument(value)} end)}

  defp read(request) do
    {:error, Error.invalid_argument("payload", "a map of function (a string) and args (a map)", request)}
  end

  defp find(functions, name) do
    case functions do
      %{^name => function} -> {:ok, function}
      _ -> {:error, Error.new(:unknown_function, "the host offers no function #{inspect(name)}")}
    end
  end

  # What a reward is given; the rest stays as the codec has it.
  defp argument(%Tagged{tag: "prediction"} = value) do
    case Prediction.from_wire(value, %{}) do
      {:ok, prediction} -> prediction
      {:error, _not_one} -> value
    end
  end

  defp argument(value), do: value

  defp run(function, args, callback, stream) do
    Callback.enter(callback)
    metadata = %{dspex: callback.dspex, function: callback.function}
    Telemetry.span([:dspex, :function], metadata, fn -> result(call(function, args, callback), stream) end)
  catch
    kind, reason -> {:error, raised(kind, reason, callback.function, __STACKTRACE__)}
  end

  defp call(function, args, _callback) when is_function(function, 1), do: function.(args)
  defp call(function, args, callback) when is_function(function, 2), do: function.(args, callback)

  defp call({module, name}, args, callback) do
    if Code.ensure_loaded?(module) and function_exported?(module, name, 2),
      do: apply(module, name, [args, callback]),
      else: apply(module, name, [args])
  end

  defp result({:stream, pieces}, stream), do: HostStream.answer(stream, pieces)
  defp result({:ok, value}, _stream), do: {:ok, value}
  defp result({:error, %Error{} = error}, _stream), do: {:error, error}

  defp result({:error, reason}, _stream) do
    text = if is_binary(reason), do: reason, else: inspect(reason, limit: 20)
    {:error, Error.new(:function_failed, text, details: %{"class" => "error"})}
  end

  defp result(value, _stream), do: {:ok, value}

  # Ours already: a prediction that failed inside keeps its code.
  defp raised(:error, %Error{} = error, _name, _stack), do: error

  defp raised(kind, reason, name, stack) do
    class = if kind == :error, do: reason |> normalized(stack) |> class(), else: Atom.to_string(kind)
    message = "the function #{inspect(name)} failed: #{Exception.format_banner(kind, reason, stack)}"
    Error.new(:function_failed, message, details: %{"class" => class, "function" => name})
  end

  defp normalized(reason, stack), do: Exception.normalize(:error, reason, stack)
  defp class(%module{}), do: inspect(module)

  defp failure(error) do
    case MessagePack.encode(Error.to_wire(error)) do
      {:ok, bytes} -> bytes
      # An error must get through, whatever its details hold.
      {:error, _} -> MessagePack.encode!(Error.to_wire(%{error | details: %{}}))
    end
  end

  defp reply(wire, id, kind, payload, deadline) do
    body = Envelope.encode(kind, id, nil, %{}, payload)

    case Wire.check_size(wire, body) do
      :ok -> Wire.send(wire, body, deadline)
      {:error, error} -> Wire.post(wire, :fail, id, %{}, failure(%{error | type: :result_too_large}))
    end
  end
end
