# A model that writes code: it computes, and asks an Elixir function. Needs `dspex code prepare`.

command = "DSPEX_COMMAND" |> System.get_env("dspex serve") |> String.split()

defmodule Example.Clerk do
  @stock %{"teapot" => 3, "kettle" => 4}

  # Called from within the sandbox.
  def stock(%{"article" => article}), do: Map.fetch!(@stock, article)

  # The offline model, in Elixir: it writes code, and reads what came of it.
  def model(%{"messages" => [%{"content" => fields} | _] = messages}) do
    cond do
      fields =~ "finished" ->
        code = "total = stock('teapot') + stock(article='kettle')\nprint(total)"
        say(generated_code: fenced(code), finished: "True")

      fields =~ "trajectory" ->
        say(reasoning: "The code said it.", answer: "There are 7 to make tea with.")

      fields =~ "final_generated_code" ->
        [_, given] = String.split(List.last(messages)["content"], "[[ ## code_output ## ]]")
        [answer] = Regex.run(~r/\d+/, given)
        say(reasoning: "The code said it.", answer: answer)

      true ->
        code = "total = sum(range(0, 100, 7))\nSUBMIT({'answer': total})"
        say(reasoning: "I let Python add.", generated_code: fenced(code))
    end
  end

  defp fenced(code), do: "```python\n#{code}\n```"

  defp say(fields),
    do:
      Enum.map_join(fields ++ [completed: ""], "\n\n", fn {name, text} -> "[[ ## #{name} ## ]]\n#{text}" end)
end

{:ok, _} =
  DSPex.start_link(
    name: Example.DSPex,
    command: command,
    args: ["--log-level", "error"],
    lms: %{"default" => System.get_env("DSPEX_LM", "host/model")},
    functions: %{"stock" => &Example.Clerk.stock/1, "model" => &Example.Clerk.model/1}
  )

thinker = {:program_of_thought, "question -> answer: int"}
question = "What do the multiples of 7 below 100 add up to?"
IO.puts(DSPex.predict!(Example.DSPex, thinker, question: question).answer)

tools = [[name: "stock", desc: "How many of an article there are.", args: %{article: %{type: "string"}}]]
clerk = {:code_act, "question -> answer", tools: tools}
IO.puts(DSPex.predict!(Example.DSPex, clerk, question: "What can I make tea with?").answer)

DSPex.stop(Example.DSPex)
