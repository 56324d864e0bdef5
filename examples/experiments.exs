# Runs of an experiment, said by several processes at once, and compared.

command = "DSPEX_COMMAND" |> System.get_env("dspex serve") |> String.split()

{:ok, _} =
  DSPex.start_link(
    name: Example.DSPex,
    command: command,
    args: ["--workers", "2", "--log-level", "error", "--store", "memory"],
    lms: %{"default" => System.get_env("DSPEX_LM", "sim/example")}
  )

alias DSPex.Experiments

program = {"Predict", "number: int -> is_even: bool"}
inputs = for number <- 1..20, do: %{number: number}

try_out = fn temperature ->
  run = Experiments.begin!(Example.DSPex, "even", params: %{temperature: temperature})
  {:ok, batch} = DSPex.batch(Example.DSPex, program, inputs, config: [temperature: temperature])

  right = Enum.zip(inputs, batch.results) |> Enum.count(fn {%{number: n}, {:ok, p}} -> p.is_even == (rem(n, 2) == 0) end)

  :ok = Experiments.log(Example.DSPex, run, right: right / length(inputs))
  :ok = Experiments.attach(Example.DSPex, run, "note.md", "# #{right} of #{length(inputs)}\n")
  :ok = Experiments.finish(Example.DSPex, run)
end

[0.0, 0.5, 1.0] |> Enum.map(&Task.async(fn -> try_out.(&1) end)) |> Task.await_many(60_000)

# An evaluation logs itself: what was asked for, on what, what it scored and what it has cost.
rows = for number <- 1..20, do: %{number: number, is_even: rem(number, 2) == 0}
metrics = [right: DSPex.Metric.exact_match("is_even")]

measured =
  DSPex.Evaluation.run!(Example.DSPex, program, rows, metrics: metrics, inputs: [:number], experiment: "even", note: "by itself")

run = Experiments.get!(Example.DSPex, measured.run)
IO.puts("#{run.id} #{run.note}: #{run.state}, #{round(run.metrics["lm_calls"].last)} calls, spec #{run.params["spec.signature"]}")

IO.puts("The model guesses; which temperature guessed best says nothing:")

for run <- Experiments.runs!(Example.DSPex, "even", sort: :right).entries, run.params["temperature"] do
  IO.puts("#{run.id}: #{run.params["temperature"]}: #{run.metrics["right"].last}, #{Experiments.artifact!(Example.DSPex, run, "note.md")}")
end
