# Language models without a program: which work, a conversation with a tool, vectors, and what it all cost.

alias DSPex.LM

lm = System.get_env("DSPEX_LM", "sim/example")
command = "DSPEX_COMMAND" |> System.get_env("dspex serve") |> String.split()

{:ok, _} =
  DSPex.start_link(
    name: Example.DSPex,
    command: command,
    lms: %{
      default: %{model: lm, usd_per_million_in: 0.15, usd_per_million_out: 0.6},
      vectors: %{model: "sim/vectors", model_type: "embedding"},
      broken: %{model: "openai/own", api_base: "http://127.0.0.1:9/v1"}
    }
  )

for %{"name" => name} <- LM.list!(Example.DSPex) do
  trial = LM.test!(Example.DSPex, lm: name)
  IO.puts("#{name}: #{if trial.ok?, do: "works", else: trial.error.type}")
end

# The model says what it wants called; this program calls it, and the model goes on.
tools = [%{name: "add", desc: "Adds two numbers.", args: %{a: %{type: :integer}, b: %{type: :integer}}}]
messages = [%{role: :user, content: "How much is 17 and 4?"}]
answer = LM.chat!(Example.DSPex, messages, tools: tools)

results =
  for call <- answer.tool_calls do
    total = call.args |> Map.values() |> Enum.sum()
    IO.puts("#{call.name} was called and gave #{total}")
    %{role: :tool, tool_call_id: call.id, content: to_string(total)}
  end

# The last word, as it is written.
Example.DSPex
|> LM.stream(messages ++ [answer.message | results], tools: tools)
|> Enum.each(fn
  %DSPex.Token{text: text} -> IO.write(text)
  %LM.Answer{finish_reason: reason} -> IO.puts(" (#{reason})")
end)

[first, second] =
  Example.DSPex |> LM.embed!(["a cat", "a dog"], lm: "vectors") |> LM.Embeddings.to_lists()

alike = first |> Enum.zip_with(second, &(&1 * &2)) |> Enum.sum()
IO.puts("a cat and a dog: #{Float.round(alike, 3)} in #{length(first)} dimensions")

%{"total" => spent} = LM.usage!(Example.DSPex)
IO.puts("#{spent["lm_calls"]} requests for #{spent["cost_usd"]} dollars")

DSPex.stop(Example.DSPex)
