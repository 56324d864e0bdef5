# A host to be killed: a BEAM whose port is a server.
#
#     elixir beam_host.exs PYTHON ANSWERS FRAME …
#
# Sends the frames (bodies in hexadecimal), the first ANSWERS of which are answered by a frame
# each, says `ready`, and waits for ever.

[python, answers | frames] = System.argv()

port =
  Port.open(
    {:spawn_executable, python},
    [:binary, {:packet, 4}, :exit_status, args: ["-m", "dspex_pool", "serve"]]
  )

# What is beyond the answers never answers: it is sent when all others are done with.
{answered, endless} = Enum.split(frames, String.to_integer(answers))
for frame <- answered, do: Port.command(port, Base.decode16!(frame, case: :lower))

for _ <- answered do
  receive do
    {^port, {:data, _}} -> :ok
    {^port, {:exit_status, status}} -> System.halt(status)
  end
end

for frame <- endless, do: Port.command(port, Base.decode16!(frame, case: :lower))
IO.puts("ready")
Process.sleep(:infinity)
