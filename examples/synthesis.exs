# Rows that a language model writes, checked and stored; an offline one, so what they say is noise.

command = "DSPEX_COMMAND" |> System.get_env("dspex serve") |> String.split()

{:ok, _} =
  DSPex.start_link(
    name: Example.DSPex,
    command: command,
    args: ["--workers", "1", "--log-level", "error", "--store", "memory"],
    lms: %{"default" => System.get_env("DSPEX_LM", "sim/example")}
  )

alias DSPex.{Datasets, Jobs, Synthesis}

job =
  Synthesis.start!(Example.DSPex, "reviews", "review -> stars: int", 12,
    task: "Say how many stars, from 1 to 5, a review of a hotel means.",
    seed: 7
  )

for {:event, event} <- Jobs.follow(Example.DSPex, job), do: IO.puts("#{event.number}: #{event.type}")

{:ok, written} = Synthesis.await(Example.DSPex, job)
IO.puts("#{written.rows} rows of #{written.requests} requests; refused: #{inspect(written.refused)}")
[first | _] = Enum.to_list(Datasets.rows(Example.DSPex, written.dataset))
IO.inspect(first)
