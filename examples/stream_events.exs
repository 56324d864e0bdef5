# What a program does while it does it: a list that grows, and an agent's tools.

command = "DSPEX_COMMAND" |> System.get_env("dspex serve") |> String.split()

defmodule Example.Model do
  # The offline model of the agent, in Elixir: asks for the weather once, and answers.
  def ask(%{"messages" => [%{"content" => system} | _] = messages}) do
    cond do
      not (system =~ "next_tool_name") -> say(reasoning: "I looked.", answer: "Yes, take an umbrella.")
      List.last(messages)["content"] =~ "It rains" -> call("I know enough.", "finish", "{}")
      true -> call("I look.", "weather", ~s({"city": "Bergen"}))
    end
  end

  defp call(thought, tool, args), do: say(next_thought: thought, next_tool_name: tool, next_tool_args: args)

  defp say(fields),
    do:
      Enum.map_join(fields ++ [completed: ""], "\n\n", fn {name, text} -> "[[ ## #{name} ## ]]\n#{text}" end)
end

{:ok, _} =
  DSPex.start_link(
    name: Example.DSPex,
    command: command,
    args: ["--log-level", "error"],
    lms: %{
      "default" => System.get_env("DSPEX_LM", "sim/example"),
      "agent" => System.get_env("DSPEX_LM", "host/model")
    },
    functions: %{
      "weather" => fn %{"city" => city} -> "It rains in #{city}." end,
      "model" => &Example.Model.ask/1
    }
  )

Example.DSPex
|> DSPex.stream({:predict, "topic -> findings: list[str], score: int"}, %{topic: "pipes"}, events: [:value])
|> Enum.each(fn
  %DSPex.PartialValue{field: "findings", value: findings, last?: last?} ->
    IO.puts("#{length(findings)} findings#{if last?, do: ", complete", else: " so far"}")

  %DSPex.PartialValue{field: field, value: value} ->
    IO.puts("#{field}: #{inspect(value)}")

  _prediction ->
    :ok
end)

tools = [[name: "weather", args: %{city: %{type: "string"}}]]
agent = {:react, "question -> answer", tools: tools, max_iters: 3}

Example.DSPex
|> DSPex.stream(agent, %{question: "Will it rain?"}, lm: "agent", events: [:tool_arguments])
|> Enum.each(fn
  %DSPex.ToolEvent{event: "start"} = tool ->
    IO.puts("call #{tool.call}: #{tool.name} with #{inspect(tool.arguments)}")

  %DSPex.ToolEvent{event: "end"} = tool ->
    IO.puts("call #{tool.call}: #{tool.outcome}")

  prediction ->
    IO.puts(prediction.answer)
end)

DSPex.stop(Example.DSPex)
