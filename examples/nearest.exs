# Past cases that are nearest to a new one: found by vectors of an Elixir function, and shown to a model.

command = "DSPEX_COMMAND" |> System.get_env("dspex serve") |> String.split()

cases = [
  %{problem: "water drips from the pipe under the sink", remedy: "a new washer"},
  %{problem: "a tile fell from the roof in the storm", remedy: "a roofer"},
  %{problem: "the pipe in the cellar is frozen", remedy: "a warm towel"},
  %{problem: "paint comes off the wall", remedy: "sandpaper and a new coat"}
]

words = cases |> Enum.flat_map(&String.split(&1.problem)) |> Enum.uniq()

# A vector for each text: which words it has. A model for embeddings knows far more.
embed = fn %{"texts" => texts} ->
  for text <- texts, said = String.split(text), do: for(word <- words, do: if(word in said, do: 1, else: 0))
end

{:ok, _} =
  DSPex.start_link(
    name: Example.DSPex,
    command: command,
    args: ["--log-level", "error"],
    lms: %{"default" => System.get_env("DSPEX_LM", "sim/example")},
    functions: %{"embed" => embed}
  )

nearest = {:knn, "problem -> remedy", k: 2, trainset: cases, vectorizer: %{function: "embed"}}
inputs = %{problem: "the pipe drips"}

for found <- DSPex.predict!(Example.DSPex, nearest, inputs).examples,
    do: IO.puts("#{found["problem"]}: #{found["remedy"]}")

adviser =
  {:pipeline, "problem -> examples: list[dict], remedy",
   nodes: [
     nearest: nearest,
     advise: {:chain_of_thought, "problem, examples: list[dict] -> remedy"}
   ]}

IO.puts("advice: #{DSPex.predict!(Example.DSPex, adviser, inputs).remedy}")
DSPex.stop(Example.DSPex)
