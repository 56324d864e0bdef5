# A conversation that outlives what it runs in: a worker is killed in the middle, then the server.

command = "DSPEX_COMMAND" |> System.get_env("dspex serve") |> String.split()
folder = Path.join(System.tmp_dir!(), "dspex-example-#{System.pid()}")
File.mkdir_p!(folder)

defmodule Example.Conversation do
  # The offline model, in Elixir: it knows nothing but what was said to it, in this turn and
  # in those before. So what is lost of a conversation is missing in its answers.
  def model(%{"messages" => messages}) do
    said = for %{"role" => "user", "content" => text} <- messages, do: text

    answer =
      case Regex.run(~r/my name is (\w+)/, Enum.join(said, "\n")) do
        [_, name] -> "You are #{name}, and you have said #{length(said)} things."
        nil -> "I do not know who you are."
      end

    "[[ ## answer ## ]]\n#{answer}\n\n[[ ## completed ## ]]"
  end

  # A turn, made until it is answered.
  def turn(dspex, session, number, question) do
    case DSPex.predict(dspex, session, %{question: question}) do
      {:ok, prediction} ->
        prediction.answer

      # Its server died. Whether the turn was made nobody knows but the session.
      {:error, %{type: :connection_lost}} ->
        case DSPex.Sessions.get!(dspex, session) do
          %{turn: ^number, history: history} -> List.last(history)["answer"]
          _ -> turn(dspex, session, number, question)
        end

      # A server that was killed has not given the session back: it has it for 15 s at most.
      {:error, %{type: :session_busy, retry_after_ms: wait}} ->
        IO.puts("  (the session is free again in #{wait} ms at most)")
        Process.sleep(wait)
        turn(dspex, session, number, question)
    end
  end

  def kill(pid), do: {_, 0} = System.cmd("kill", ["-KILL", "#{pid}"])
end

alias Example.Conversation

{:ok, _} =
  DSPex.start_link(
    name: Example.DSPex,
    command: command,
    args: ["--workers", "1", "--log-level", "error", "--store", "sqlite:" <> Path.join(folder, "state.db")],
    lms: %{"default" => System.get_env("DSPEX_LM", "host/model")},
    functions: %{"model" => &Conversation.model/1}
  )

# Where a signature has a history, the server fills it in with the turns so far.
program =
  DSPex.create!(Example.DSPex, {"Predict", "history: history, question: str -> answer: str"},
    program: "assistant"
  )

session = DSPex.Sessions.open!(Example.DSPex, program, ttl: :timer.hours(1))

ask = fn number, question ->
  IO.puts("#{number}. #{question}")
  IO.puts("  #{Conversation.turn(Example.DSPex, session, number, question)}")
end

ask.(1, "Hello, my name is Ada.")
ask.(2, "I like numbers.")

%{"pid" => server, "workers" => [%{"pid" => worker}]} = DSPex.info!(Example.DSPex)
IO.puts("The worker is killed.")
Conversation.kill(worker)
ask.(3, "Who am I?")

IO.puts("The server is killed.")
Conversation.kill(server)
ask.(4, "And now, who am I?")

fork = DSPex.Sessions.fork!(Example.DSPex, session)
answer = Conversation.turn(Example.DSPex, fork, 5, "Who am I in a fork?")
IO.puts("In a fork: #{answer}")

%{turn: turns, history: history} = DSPex.Sessions.get!(Example.DSPex, session)
IO.puts("The session itself has #{turns} turns; its history begins with #{inspect(hd(history)["question"])}.")

DSPex.Sessions.close!(Example.DSPex, session)
DSPex.stop(Example.DSPex)
File.rm_rf!(folder)
