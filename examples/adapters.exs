# Adapters, the prompts that they write, and a model that is asked again.

model = System.get_env("DSPEX_LM", "sim/example")
command = "DSPEX_COMMAND" |> System.get_env("dspex serve") |> String.split()
lms = %{"default" => model, "small" => model}
{:ok, _} = DSPex.start_link(name: Example.DSPex, command: command, lms: lms)

signature = [
  instructions: "Sort the ticket.",
  inputs: [ticket: :string],
  outputs: [kind: {:enum, ["bug", "wish", "question"]}, urgency: {:integer, range: 0..10}]
]

program = %{module: :predict, signature: signature}
inputs = %{ticket: "It does not start any more."}

for adapter <- [:chat, :json, {:two_step, extraction_model: "small"}] do
  options = [adapter: adapter, on_violation: {:retry, 2}]
  prediction = DSPex.predict!(Example.DSPex, program, inputs, options)
  IO.puts("#{inspect(adapter)}: #{prediction.kind}, #{prediction.urgency}")
end

# What one of them would send, without asking anybody.
[prompt] = DSPex.prompts!(Example.DSPex, program, adapter: :json, inputs: inputs)
for message <- prompt["messages"], do: IO.puts("--- #{message["role"]}\n#{message["content"]}")

DSPex.stop(Example.DSPex)
