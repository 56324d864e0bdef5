# One program over many inputs: all results in order, then as they come, and a consumer that has seen enough.

command = "DSPEX_COMMAND" |> System.get_env("dspex serve") |> String.split()

{:ok, _} =
  DSPex.start_link(
    name: Example.DSPex,
    command: command,
    args: ["--workers", "2", "--log-level", "error", "--store", "memory"],
    lms: %{"default" => System.get_env("DSPEX_LM", "sim/example")}
  )

spec = {"Predict", "review: str -> mood: literal['glad', 'sad', 'angry']"}

rows = [
  %{review: "It broke after two days."},
  %{reviw: "Misspelt."},
  %{review: "My cat sleeps on nothing else now."},
  %{review: "Well, it works."}
]

{:ok, batch} = DSPex.batch(Example.DSPex, spec, rows, parallelism: 4)

for {result, index} <- Enum.with_index(batch.results) do
  case result do
    {:ok, prediction} -> IO.puts("row #{index}: #{prediction.mood}")
    {:error, error} -> IO.puts("row #{index} failed: #{error.message}")
  end
end

IO.puts("#{batch.done} done, #{batch.failed} failed, #{batch.usage["tokens_out"]} tokens written")

# Lazy: rows are run as their results are taken, and the batch is cancelled when that is enough.
many = for number <- 1..1_000, do: %{review: "Review number #{number}."}

first =
  Example.DSPex
  |> DSPex.batch_stream(spec, many, parallelism: 4, credit: 4)
  |> Stream.filter(&match?({_index, {:ok, _prediction}}, &1))
  |> Enum.take(3)

for {index, {:ok, prediction}} <- first, do: IO.puts("of many, row #{index}: #{prediction.mood}")

DSPex.stop(Example.DSPex)
