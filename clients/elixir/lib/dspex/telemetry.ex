defmodule DSPex.Telemetry do
  @moduledoc """
  The events of DSPex, for `:telemetry` handlers. Where `:telemetry` is not loaded nothing
  happens; DSPex does not depend on it.

  | event | measurements | metadata |
  |---|---|---|
  | `[:dspex, :call, :start]` | `system_time` | `dspex`, `method` |
  | `[:dspex, :call, :stop]` | `duration` (native units), and where known `queue_ms`, `worker_ms`, `lm_ms`, `lm_calls`, `tokens_in`, `tokens_out` | `dspex`, `method`, `result` (`:ok` or the error's type), `worker`, `attempt` |
  | `[:dspex, :function, :start]` | `system_time` | `dspex`, `function` |
  | `[:dspex, :function, :stop]` | `duration` | `dspex`, `function`, `result` |
  | `[:dspex, :function, :exception]` | `duration` | `dspex`, `function`, `kind`, `reason` |
  | `[:dspex, :connection, :open]` | `duration` from start to handshake | `dspex`, `server`, `instance` |
  | `[:dspex, :connection, :closed]` | `pending`: calls that failed with it | `dspex`, `reason` |
  | `[:dspex, :pool, :event]` | | `dspex`, and what the server told (`notes: [:event]`): see `DSPex.Pool` |

  Each call has one start and one stop, however it is made and however it ends: a failure
  is a stop whose `result` is the error's type, also where a `!` raises it. `DSPex.async/4`
  starts with the call and stops with its `await`; a stream starts with its first demand,
  and one that is halted stops with `result: :cancelled`. Only a process that dies with a
  call open leaves a start alone. Handlers run in the process that makes the call.
  """

  @doc false
  @spec span([atom()], map(), (() -> result)) :: result when result: term()
  def span(event, metadata, fun) do
    start(event, metadata)
    began = System.monotonic_time()

    try do
      fun.()
    catch
      kind, reason ->
        stack = __STACKTRACE__
        metadata = Map.merge(metadata, %{kind: kind, reason: reason})
        execute(event ++ [:exception], %{duration: System.monotonic_time() - began}, metadata)
        :erlang.raise(kind, reason, stack)
    else
      result ->
        stop(event, began, metadata, result)
        result
    end
  end

  @doc false
  @spec start([atom()], map()) :: :ok
  def start(event, metadata), do: execute(event ++ [:start], %{system_time: System.system_time()}, metadata)

  @doc false
  @spec stop([atom()], integer(), map(), term()) :: :ok
  def stop(event, began, metadata, result) do
    {extra, more} = outcome(result)
    measurements = Map.put(extra, :duration, System.monotonic_time() - began)
    execute(event ++ [:stop], measurements, Map.merge(metadata, more))
  end

  @doc false
  @spec execute([atom()], map(), map()) :: :ok
  def execute(event, measurements, metadata) do
    # `apply`, since the module may be absent when this is compiled.
    if function_exported?(:telemetry, :execute, 3),
      do: apply(:telemetry, :execute, [event, measurements, metadata])

    :ok
  end

  @measured ~w(queue_ms worker_ms lm_ms lm_calls tokens_in tokens_out)a

  defp outcome({:ok, _value, meta}) do
    measured = for key <- @measured, number = meta[Atom.to_string(key)], into: %{}, do: {key, number}
    {measured, %{result: :ok, worker: meta["worker"], attempt: meta["attempt"]}}
  end

  defp outcome({:error, %DSPex.Error{type: type}}), do: {%{}, %{result: type}}
  defp outcome(_value), do: {%{}, %{result: :ok}}
end
