# An agent whose tools are Elixir functions, and the best of several attempts by an Elixir reward.

command = "DSPEX_COMMAND" |> System.get_env("dspex serve") |> String.split()

defmodule Example.Shop do
  @stock %{"teapot" => 3, "kettle" => 0}

  def stock(%{"article" => article}) do
    case @stock do
      # What it raises is what the model is told; it may try something else.
      %{^article => count} -> "#{count} in stock"
      _ -> raise ArgumentError, "there is no #{article}; there are #{Enum.join(Map.keys(@stock), ", ")}"
    end
  end

  # The more words, the better.
  def wordy(%{"prediction" => prediction}), do: prediction.answer |> String.split() |> length()

  # The offline model, in Elixir: asks for a cup, learns that there is none, asks for a teapot, and answers.
  def model(%{"messages" => [%{"content" => system} | _] = messages}) do
    seen = List.last(messages)["content"]

    cond do
      not (system =~ "next_tool_name") ->
        say(reasoning: "I looked.", answer: "There are 3 teapots, and no cups.")

      seen =~ "3 in stock" ->
        call("I know enough.", "finish", "{}")

      seen =~ "there is no cup" ->
        call("Then a teapot.", "stock", ~s({"article": "teapot"}))

      true ->
        call("I look for cups.", "stock", ~s({"article": "cup"}))
    end
  end

  # Each answer has a word more than the one before, up to three.
  def writer(attempts) do
    :counters.add(attempts, 1, 1)
    say(answer: String.trim(String.duplicate("tea ", min(:counters.get(attempts, 1), 3))))
  end

  defp call(thought, tool, args), do: say(next_thought: thought, next_tool_name: tool, next_tool_args: args)

  defp say(fields),
    do:
      Enum.map_join(fields ++ [completed: ""], "\n\n", fn {name, text} -> "[[ ## #{name} ## ]]\n#{text}" end)
end

attempts = :counters.new(1, [])

{:ok, _} =
  DSPex.start_link(
    name: Example.DSPex,
    command: command,
    args: ["--log-level", "error"],
    lms: %{
      "default" => System.get_env("DSPEX_LM", "host/model"),
      "writer" => System.get_env("DSPEX_LM", "host/writer")
    },
    functions: %{
      "stock" => &Example.Shop.stock/1,
      "wordy" => &Example.Shop.wordy/1,
      "model" => &Example.Shop.model/1,
      "writer" => fn _args -> Example.Shop.writer(attempts) end
    }
  )

tools = [[name: "stock", desc: "How many of an article there are.", args: %{article: %{type: "string"}}]]

agent =
  DSPex.create!(Example.DSPex, {:react, "question -> answer", tools: tools, max_iters: 5}, program: "clerk")

prediction = DSPex.predict!(Example.DSPex, agent, question: "What can I make tea with?")

for n <- 0..1 do
  IO.puts("It asked for #{prediction.trajectory["tool_args_#{n}"]["article"]}.")
end

IO.puts(prediction.answer)

best = {:best_of_n, nil, module: {:predict, "question -> answer"}, N: 3, reward_fn: "wordy", threshold: 3}

prediction = DSPex.predict!(Example.DSPex, best, %{question: "Say it well."}, lm: "writer")
IO.puts("The best of three: #{prediction.answer}")

unknown = {:react, "question -> answer", tools: [[name: "order"]]}
{:error, error} = DSPex.predict(Example.DSPex, unknown, question: "One teapot, please.")
IO.puts(error.message)

DSPex.stop(Example.DSPex)
