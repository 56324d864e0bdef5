# A typed prediction: one call, one whole answer.

lm = System.get_env("DSPEX_LM", "sim/example")
command = "DSPEX_COMMAND" |> System.get_env("dspex serve") |> String.split()

{:ok, _} = DSPex.start_link(name: Example.DSPex, command: command, lms: %{"default" => lm})

{:ok, prediction} =
  DSPex.predict(
    Example.DSPex,
    %{module: "ChainOfThought", signature: "review: str -> stars: int, mood: literal['glad', 'sad', 'angry']"},
    %{review: "It broke after two days."}
  )

IO.puts("stars: #{prediction.stars}")
IO.puts("mood: #{prediction.mood}")

DSPex.stop(Example.DSPex)
