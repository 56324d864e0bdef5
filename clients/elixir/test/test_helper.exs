{:ok, _registry} = DSPex.TelemetryProbe.define()
exclude = if System.get_env("DSPEX_COMMAND"), do: [], else: [:server]

# On a machine that is busy with other things a message may take its time.
ExUnit.start(exclude: exclude, assert_receive_timeout: 5_000)
