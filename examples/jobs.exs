# A job: an optimizer that goes on whoever dies, followed, and submitted twice without being done twice.

command = "DSPEX_COMMAND" |> System.get_env("dspex serve") |> String.split()

{:ok, _} =
  DSPex.start_link(
    name: Example.DSPex,
    command: command,
    args: ["--workers", "1", "--log-level", "error", "--store", "memory"],
    lms: %{"default" => System.get_env("DSPEX_LM", "sim/example")}
  )

alias DSPex.Jobs

request = %{
  spec: %{module: "Predict", signature: "review -> stars: int"},
  optimizer: %{optimizer: "LabeledFewShot", options: %{k: 2}},
  metric: %{metric: "exact_match", options: %{field: "stars"}},
  trainset: [
    %{review: "Well made, and it lasts.", stars: 5},
    %{review: "It broke after two days.", stars: 1},
    %{review: "Too loud for me.", stars: 2}
  ],
  seed: 7,
  save_as: %{program: "stars", tags: ["optimized"]}
}

submit = fn ->
  Jobs.submit!(Example.DSPex, :optimize, request, key: "stars, first try", budget: [lm_calls: 200])
end

job = submit.()
# As a node does that was started anew and does not know whether it had come so far.
same = submit.()
IO.puts("submitted: #{job.created?}; again: #{same.created?}, and it is the same: #{same.id == job.id}")

# Lazy, and goes on where it was when the connection breaks.
for {:event, event} <- Jobs.follow(Example.DSPex, job), do: IO.puts("  #{event.number}. #{event.type}")

%{state: :done, saved: program, spent: spent} = Jobs.await!(Example.DSPex, job)
record = DSPex.Programs.get!(Example.DSPex, program)
IO.puts("#{program.id} version #{program.version}, by #{record.lineage.by}, for #{spent["lm_calls"]} requests")

# A budget that was too small is raised: nothing is paid for again.
bootstrap = %{Map.delete(request, :save_as) | optimizer: %{optimizer: "BootstrapFewShot"}}
small = Jobs.submit!(Example.DSPex, :optimize, bootstrap, budget: [lm_calls: 2])
%{state: :failed, error: %{type: :budget_spent}} = Jobs.await!(Example.DSPex, small)
Jobs.resume!(Example.DSPex, small, budget: [lm_calls: 200])
%{state: :done, replay: replay} = Jobs.await!(Example.DSPex, small)
IO.puts("with a larger budget it is done, and #{replay["answered"]} requests were paid for before")
