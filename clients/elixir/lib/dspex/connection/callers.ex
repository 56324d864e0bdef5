defmodule DSPex.Connection.Callers do
  @moduledoc false
  # The processes that wait for outcomes, each monitored: a caller that dies wants no answer.

  alias DSPex.OpenCalls

  defstruct monitors: %{}, ids: %{}

  @type t :: %__MODULE__{
          monitors: %{optional(OpenCalls.id()) => reference()},
          ids: %{optional(reference()) => OpenCalls.id()}
        }

  @spec watch(t(), OpenCalls.id(), pid()) :: t()
  def watch(callers, id, pid) do
    monitor = Process.monitor(pid)
    %{callers | monitors: Map.put(callers.monitors, id, monitor), ids: Map.put(callers.ids, monitor, id)}
  end

  @spec unwatch(t(), OpenCalls.id()) :: t()
  def unwatch(callers, id) do
    case Map.pop(callers.monitors, id) do
      {nil, _} ->
        callers

      {monitor, monitors} ->
        Process.demonitor(monitor, [:flush])
        %{callers | monitors: monitors, ids: Map.delete(callers.ids, monitor)}
    end
  end

  @spec unwatch_all(t()) :: t()
  def unwatch_all(callers) do
    for monitor <- Map.keys(callers.ids), do: Process.demonitor(monitor, [:flush])
    %__MODULE__{}
  end

  @doc "Whose call a monitor was for; it is watched no more."
  @spec down(t(), reference()) :: {:ok, OpenCalls.id(), t()} | :error
  def down(callers, monitor) do
    case Map.pop(callers.ids, monitor) do
      {nil, _} -> :error
      {id, ids} -> {:ok, id, %{callers | ids: ids, monitors: Map.delete(callers.monitors, id)}}
    end
  end

  @spec waiting?(t()) :: boolean()
  def waiting?(callers), do: callers.ids != %{}
end
