{:ok, _registry} = DSPex.TelemetryProbe.define()
# Servers of tests do not write into their user's own file of programs.
unless System.get_env("DSPEX_STORE"), do: System.put_env("DSPEX_STORE", "memory")
exclude = if System.get_env("DSPEX_COMMAND"), do: [], else: [:server]

# On a machine that is busy with other things a message may take its time.
ExUnit.start(exclude: exclude, assert_receive_timeout: 5_000)
