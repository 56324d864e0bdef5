defmodule DSPex.TelemetryProbe do
  @moduledoc """
  A `:telemetry` of our own for tests: passes the events of an instance on to one process.

  The real one is a Hex package, and this project has none.
  """

  @doc "Defines `:telemetry`, as if an application had brought it."
  def define do
    body =
      quote(
        do:
          def(execute(event, measurements, metadata),
            do: unquote(__MODULE__).pass(event, measurements, metadata)
          )
      )

    Module.create(:telemetry, body, Macro.Env.location(__ENV__))
    Registry.start_link(keys: :unique, name: __MODULE__)
  end

  @doc "From now on the calling process gets `{:event, event, measurements, metadata}`."
  def attach(dspex), do: Registry.register(__MODULE__, dspex, nil)

  def pass(event, measurements, %{dspex: dspex} = metadata) do
    for {pid, _} <- Registry.lookup(__MODULE__, dspex), do: send(pid, {:event, event, measurements, metadata})
  end
end
