defmodule DSPex.Connection.Notes do
  @moduledoc false
  # What the server says unasked: faults, log lines, events.

  require Logger

  alias DSPex.{Error, Telemetry}

  @doc "Passes a NOTE on to the log or to telemetry; unknown ones are ignored."
  @spec noted(atom(), String.t(), {:ok, term()} | {:error, Error.t()}) :: :ok
  def noted(dspex, "system.fault", {:ok, fields}) do
    Logger.warning("#{inspect(dspex)}: the server reports a fault: #{Error.from_wire(fields).message}")
  end

  def noted(dspex, "pool.event", {:ok, %{} = fields}),
    do: Telemetry.execute([:dspex, :pool, :event], %{}, Map.put(fields, :dspex, dspex))

  def noted(dspex, "log.line", {:ok, %{} = fields}),
    do: Logger.log(level(fields["level"]), fn -> "#{inspect(dspex)}: #{line(fields)}" end)

  def noted(_dspex, _method, _payload), do: :ok

  defp level("debug"), do: :debug
  defp level("warning"), do: :warning
  defp level("error"), do: :error
  defp level(_other), do: :info

  defp line(fields) do
    {event, rest} = fields |> Map.delete("level") |> Map.pop("event", "")
    event = if is_binary(event), do: event, else: inspect(event, limit: 10)
    Enum.join([event | for({key, value} <- rest, do: "#{key}=#{inspect(value, limit: 10)}")], " ")
  end
end
