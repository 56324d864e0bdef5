# A language model that is an Elixir function and writes word by word, into a stream and without one.

defmodule Example.Model do
  @words ["A pipe ", "carries ", "bytes ", "in order ", "from one process ", "to another."]

  # What stands here would ask a model of your own; its answer has the form that the messages ask for.
  def write(%{"messages" => messages}) do
    words = Stream.each(@words, fn _word -> Process.sleep(20) end)
    asked = messages |> Enum.map(&div(String.length(&1["content"]), 4)) |> Enum.sum()

    pieces =
      ["[[ ## essay ## ]]\n"]
      |> Stream.concat(words)
      |> Stream.concat(["\n\n[[ ## completed ## ]]", {:reply, tokens_in: asked, tokens_out: length(@words)}])

    {:stream, pieces}
  end
end

{:ok, _} =
  DSPex.start_link(
    name: Example.DSPex,
    command: "DSPEX_COMMAND" |> System.get_env("dspex serve") |> String.split(),
    lms: %{default: "host/write"},
    functions: %{"write" => {Example.Model, :write}}
  )

Example.DSPex
|> DSPex.stream({"Predict", "topic -> essay"}, %{topic: "pipes"}, events: [:token])
|> Enum.each(fn
  %DSPex.Token{text: text} -> IO.write(text)
  %DSPex.Prediction{meta: meta} -> IO.puts("\n-- #{meta["tokens_out"]} tokens")
end)

prediction = DSPex.predict!(Example.DSPex, {"Predict", "topic -> essay"}, %{topic: "pipes"})
IO.puts("-- the same at once: #{prediction.essay}")

DSPex.stop(Example.DSPex)
