defmodule DSPex.Connection.Callbacks do
  @moduledoc false
  # The host functions that the server has called and that run here, each in a task.

  alias DSPex.{Envelope, Error, HostFunction, MessagePack, Options, Wire}

  defstruct tasks: %{}, ids: %{}

  @type t :: %__MODULE__{
          tasks: %{optional(non_neg_integer()) => HostFunction.t()},
          ids: %{optional(reference()) => non_neg_integer()}
        }

  @spec start(t(), Options.t(), Wire.t(), Envelope.t(), binary()) :: t()
  def start(callbacks, options, wire, %{id: id} = envelope, payload) do
    task = HostFunction.start(options.name, options.functions, wire, envelope, payload)
    %{callbacks | tasks: Map.put(callbacks.tasks, id, task), ids: Map.put(callbacks.ids, task.monitor, id)}
  end

  @doc "Whether the call has no outcome yet. A task that has answered may take a moment to end."
  @spec open?(t(), non_neg_integer()) :: boolean()
  def open?(callbacks, id) do
    case callbacks.tasks do
      %{^id => task} -> not HostFunction.settled?(task)
      _ -> false
    end
  end

  @doc "Stops a function that has not answered yet; one that is just answering is left to it."
  @spec cancel(t(), non_neg_integer(), Wire.t()) :: :ok
  def cancel(callbacks, id, wire) do
    with %{^id => task} <- callbacks.tasks, true <- HostFunction.settle(task) do
      Process.exit(task.pid, :kill)
      fail(wire, id, :killed)
    end

    :ok
  end

  @doc "The server takes more items of what a function answers; one that has ended needs none."
  @spec credit(t(), non_neg_integer(), Envelope.meta()) :: :ok
  def credit(callbacks, id, meta) do
    with %{^id => task} <- callbacks.tasks, do: HostFunction.add_credit(task, meta["n"])
    :ok
  end

  @doc "A task ended; where it left its call without an outcome, the call fails."
  @spec down(t(), reference(), term(), Wire.t() | nil) :: {:ok, t()} | :error
  def down(callbacks, monitor, reason, wire) do
    case Map.pop(callbacks.ids, monitor) do
      {nil, _} ->
        :error

      {id, ids} ->
        # An id that the server used again has a task of its own by now.
        {ended, tasks} = pop_task(callbacks.tasks, id, monitor)
        if wire && ended && HostFunction.settle(ended), do: fail(wire, id, reason)
        {:ok, %{callbacks | ids: ids, tasks: tasks}}
    end
  end

  defp pop_task(tasks, id, monitor) do
    case tasks do
      %{^id => %{monitor: ^monitor} = task} -> {task, Map.delete(tasks, id)}
      _ -> {nil, tasks}
    end
  end

  @spec stop_all(t()) :: t()
  def stop_all(callbacks) do
    for task <- Map.values(callbacks.tasks), do: Process.exit(task.pid, :kill)
    for monitor <- Map.keys(callbacks.ids), do: Process.demonitor(monitor, [:flush])
    %__MODULE__{}
  end

  defp fail(wire, id, reason),
    do: Wire.post(wire, :fail, id, %{}, MessagePack.encode!(Error.to_wire(error(reason))))

  defp error(:killed), do: Error.new(:cancelled, "the function was stopped")

  defp error(reason) do
    message = "the function's process died: #{inspect(reason, limit: 10, printable_limit: 200)}"
    Error.new(:function_failed, message)
  end
end
