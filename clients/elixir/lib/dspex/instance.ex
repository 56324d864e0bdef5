defmodule DSPex.Instance do
  @moduledoc false
  # One instance in the user's supervision tree: the table of open calls, the supervisor
  # of host functions, and the connection.

  use Supervisor

  alias DSPex.{Connection, OpenCalls, Options}

  @spec start_link(Options.t()) :: Supervisor.on_start()
  # In a function, so that no report and no status of a supervisor prints the options.
  def start_link(options),
    do: Supervisor.start_link(__MODULE__, fn -> options end, name: options.name)

  @spec functions(atom()) :: atom()
  def functions(dspex), do: Module.concat(dspex, "Functions")

  @impl true
  def init(hidden) do
    options = hidden.()
    OpenCalls.new(options.name, options.timeout)
    # Looked for once: asking the code server at each call would cost more than the call.
    Code.ensure_loaded(:telemetry)

    children = [
      {Task.Supervisor, name: functions(options.name)},
      {Connection, {options.name, hidden}}
    ]

    # A host function answers on the connection that called it, so they go together.
    Supervisor.init(children, strategy: :one_for_all)
  end
end
