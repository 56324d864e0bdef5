# A question about a picture: its bytes go with the call, and the trace tells what the model was given.

alias DSPex.Image

lm = System.get_env("DSPEX_LM", "sim/example")
command = "DSPEX_COMMAND" |> System.get_env("dspex serve") |> String.split()

{:ok, _} = DSPex.start_link(name: Example.DSPex, command: command, lms: %{"default" => lm})

# A red square of eight by eight; Image.from_path("photo.jpg") reads a file of yours.
png =
  Base.decode64!(
    "iVBORw0KGgoAAAANSUhEUgAAAAgAAAAICAIAAABLbSncAAAAEUlEQVR42mO4oKCAFTEMLQkAvk5EAYUHFA8AAAAASUVORK5CYII="
  )

{:ok, photo} = Image.from_binary(png)
program = {"Predict", "photo: image, question -> answer, colours: list[str]"}

{:ok, prediction} =
  DSPex.predict(Example.DSPex, program, [photo: photo, question: "What is to be seen?"], trace: true)

IO.puts("answer: #{prediction.answer}")
IO.puts("colours: #{Enum.join(prediction.colours, ", ")}")

[step] = prediction.trace
{:ok, {bytes, media_type}} = Image.to_binary(step["inputs"]["photo"])
IO.puts("#{step["predictor"]} was given #{byte_size(bytes)} bytes of #{media_type}")

# What is no picture is refused before a model is asked.
{:error, error} =
  DSPex.predict(Example.DSPex, program, photo: Image.from_binary!("%PDF-1.7"), question: "And this?")

IO.puts(error.message)

DSPex.stop(Example.DSPex)
