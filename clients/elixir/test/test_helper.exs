exclude = if System.get_env("DSPEX_COMMAND"), do: [], else: [:server]
ExUnit.start(exclude: exclude)
