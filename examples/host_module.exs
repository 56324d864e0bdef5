# A module whose forward is an Elixir function: it drafts, has the draft checked, and tries again.

command = "DSPEX_COMMAND" |> System.get_env("dspex serve") |> String.split()

defmodule Example.Writer do
  # The control flow of the program; what the parts have learned is the program's.
  def write(%{"topic" => topic}), do: write(topic, "none yet", 1)

  defp write(topic, advice, n) do
    draft = DSPex.predict_part!(Example.DSPex, :draft, topic: topic, advice: advice)
    check = DSPex.predict_part!(Example.DSPex, :check, text: draft.text)

    if check.good or n == 3,
      do: %{text: draft.text, drafts: n},
      else: write(topic, check.advice, n + 1)
  end
end

{:ok, _} =
  DSPex.start_link(
    name: Example.DSPex,
    command: command,
    args: ["--log-level", "error"],
    lms: %{"default" => System.get_env("DSPEX_LM", "sim/example")},
    functions: %{"write" => &Example.Writer.write/1}
  )

parts = %{
  draft: {:predict, "topic, advice -> text"},
  check: {:chain_of_thought, "text -> good: bool, advice"}
}

spec = {:host, "topic -> text, drafts: int", forward: "write", parts: parts}
state = %{"draft" => %{"instructions" => "Write one sentence."}}
writer = DSPex.create!(Example.DSPex, spec, program: "writer", state: state)

prediction = DSPex.predict!(Example.DSPex, writer, %{topic: "pipes"}, trace: true)
IO.puts("#{prediction.text} (drafts: #{prediction.drafts})")
for step <- prediction.trace, do: IO.puts("#{step["predictor"]} ran")

DSPex.stop(Example.DSPex)
