# What a program is made of, for a page, and what its last calls sent to a model.

command = "DSPEX_COMMAND" |> System.get_env("dspex serve") |> String.split()

{:ok, _} =
  DSPex.start_link(
    name: Example.DSPex,
    command: command,
    args: ["--log-level", "error", "--store", "memory", "--history", "redacted"],
    lms: %{"default" => System.get_env("DSPEX_LM", "sim/example")}
  )

program = DSPex.create!(Example.DSPex, {:chain_of_thought, "question -> answer"}, program: "qa")
graph = DSPex.graph!(Example.DSPex, program)

for %{"kind" => "predictor", "signature" => signature} = node <- graph.nodes do
  IO.puts("#{node["predictor"]} gives #{Enum.map_join(signature["outputs"], ", ", & &1["name"])}")
end

# The same as a text for Livebook or Markdown, and as a picture that needs nothing else.
IO.puts(DSPex.graph!(Example.DSPex, program, format: :mermaid))
svg = DSPex.graph!(Example.DSPex, program, format: :svg)
IO.puts("an SVG of #{byte_size(svg)} bytes")

DSPex.predict!(Example.DSPex, program, question: "Why is the sky blue?")

for call <- DSPex.history!(Example.DSPex, program: program).calls, request <- call["requests"] do
  messages = Enum.map_join(request["messages"], " and ", &"#{&1["characters"]} characters (#{&1["role"]})")
  IO.puts("version #{call["version"]} sent #{messages} to #{request["model"]}")
end

DSPex.stop(Example.DSPex)
