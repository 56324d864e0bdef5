# A program that gets better: DSPy's MIPROv2 as a job, its trials told as they are made, its result used.
#
# The offline model has a lesson, so that a better prompt really makes it answer better; it stands in for
# a model, and says nothing of any.

command = "DSPEX_COMMAND" |> System.get_env("dspex serve") |> String.split()

sounds = %{
  "cow" => "moo",
  "dog" => "woof",
  "cat" => "meow",
  "horse" => "neigh",
  "pig" => "oink",
  "sheep" => "baa",
  "duck" => "quack",
  "owl" => "hoot",
  "lion" => "roar",
  "snake" => "hiss",
  "bee" => "buzz",
  "frog" => "croak"
}

{:ok, _} =
  DSPex.start_link(
    name: Example.DSPex,
    command: command,
    args: ["--log-level", "error", "--store", "memory"],
    lms: %{"default" => %{model: "sim/learner", options: %{lesson: %{answers: sounds, start: 0.2}}}}
  )

rows = for {animal, sound} <- Enum.sort(sounds), do: %{animal: animal, sound: sound}
{:ok, program} = DSPex.create(Example.DSPex, {:predict, "animal -> sound"}, program: "sounds")

optimizer =
  DSPex.Optimizer.new(:MIPROv2, [auto: nil, num_candidates: 4, max_labeled_demos: 3], num_trials: 6, minibatch: false)

tell = fn
  {:event, %{type: "trial", data: trial}} ->
    best = if trial["is_best"], do: ", the best so far", else: ""
    IO.puts("trial #{trial["trial"]}: #{Float.round(trial["score"], 2)}#{best}")

  _other ->
    :ok
end

made =
  DSPex.Optimizers.optimize!(Example.DSPex, program.id, optimizer,
    metric: DSPex.Metric.exact_match("sound"),
    trainset: rows,
    valset: rows,
    seed: 7,
    budget: [lm_calls: 500],
    on_event: tell
  )

IO.puts("from #{Float.round(made.scores["start"], 2)} to #{Float.round(made.scores["best"], 2)}")
IO.puts("stored as version #{made.program.version}, for #{made.usage["lm_calls"]} requests")
IO.puts(DSPex.predict!(Example.DSPex, made.program, animal: "owl").sound)

DSPex.stop(Example.DSPex)
