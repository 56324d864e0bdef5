# Modules whose fields feed one another as one program, and a stored program as a part of another.

command = "DSPEX_COMMAND" |> System.get_env("dspex serve") |> String.split()

{:ok, _} =
  DSPex.start_link(
    name: Example.DSPex,
    command: command,
    args: ["--store", "memory", "--log-level", "error"],
    lms: %{"default" => System.get_env("DSPEX_LM", "sim/example")}
  )

checker =
  DSPex.create!(Example.DSPex, {:predict, "title: str, summary: str -> fits: bool"},
    program: "checker",
    state: [self: [instructions: "Say whether the title fits."]]
  )

# `points` and `name` need nothing of each other, so they run at once. What has the same name needs no wire.
nodes = [
  points: {:chain_of_thought, "text -> points: list[str]"},
  name: {:predict, "text -> title: str"},
  write: {:predict, "points: list[str], words: int -> draft: str"},
  check: checker
]

options = [
  nodes: nodes,
  wires: [write: [words: {:value, 50}], check: [summary: "write.draft"]],
  outputs: [summary: "write.draft"]
]

signature = "text -> title: str, summary: str, fits: bool"
review = DSPex.create!(Example.DSPex, {:pipeline, signature, options}, program: "review")

record = DSPex.Programs.get!(Example.DSPex, review)
for {name, state} <- record.state, do: IO.puts("predictor #{name}: #{state["instructions"]}")
IO.puts("check is a copy of #{inspect(record.spec.options["nodes"]["check"]["origin"])}")

text = "Copper was the first metal that people worked, long before iron."

# As it is written: whose text it is says the predictor's name.
for item <- DSPex.stream(Example.DSPex, review, %{text: text}) do
  case item do
    %DSPex.Token{last?: true} = token -> IO.puts("#{token.predictor} has written #{token.field}")
    %DSPex.Prediction{} = prediction -> IO.puts("#{prediction.title}, #{prediction.usage["lm_calls"]} requests")
    _ -> :ok
  end
end

# What does not fit together is told when the program is made.
wrong = put_in(options, [:nodes, :name], {:predict, "text -> title: int"})
{:error, error} = DSPex.create(Example.DSPex, {:pipeline, signature, wrong})
IO.puts(error.message)

DSPex.stop(Example.DSPex)
