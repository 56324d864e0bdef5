# `make demo`: the main job end to end. Run by `mix run demo.exs`; DSPEX_COMMAND says what
# to start, DSPEX_LM which model to use instead of the offline one.

defmodule Demo do
  defmodule City do
    use DSPex.Signature, instructions: "Describe the city for a traveller."

    signature [city: :string],
      summary: {:string, desc: "one sentence"},
      people: {:integer, ge: 1, desc: "inhabitants"},
      by_the_sea: :boolean,
      kind: {:enum, ["capital", "town", "village"]},
      sights: {{:list, :string}, min_items: 1, max_items: 3}
  end

  @qa "question -> answer"
  @pace_ms 60

  def run do
    model = System.get_env("DSPEX_LM")

    if model,
      do: say("Using the model #{model}."),
      else: say("DSPEX_LM is not set: using the offline sim/ model.")

    {:ok, _} = DSPex.start_link(options(model))
    step("Starting #{Enum.join(command(), " ")}", &start/0)

    steps = [
      {"A typed signature with Predict", &typed/0},
      {"The same with ChainOfThought", &reasoned/0},
      {"200 predictions at once over 2 workers", &many/0},
      {"A streamed answer", &streamed/0},
      {"An Elixir function called in the middle of a prediction", &called_back/0},
      {"A worker killed while 200 predictions are in flight", &killed/0},
      {"All workers replaced while 200 predictions are in flight", &replaced/0},
      {"A deadline", &deadline/0},
      {"A cancel", &cancelled/0}
    ]

    for {title, function} <- steps, do: step(title, function)
    step("Stopping", &stop/0)
    say("\nAll done.")
  end

  defp options(model) do
    [
      name: Demo.DSPex,
      command: command(),
      args: ["--workers", "2"],
      # What the demo stores is gone with it.
      env: %{"DSPEX_STORE" => "memory"},
      lms: %{
        default:
          if(model, do: with_key(model), else: %{model: "sim/default", options: %{latency_ms: @pace_ms}}),
        streaming:
          if(model, do: with_key(model), else: %{model: "sim/streaming", options: %{tokens_per_s: 40}}),
        slow: %{model: "sim/slow", options: %{latency_ms: 30_000}},
        elixir: "host/answer_in_elixir"
      },
      functions: %{"answer_in_elixir" => &answer_in_elixir/2}
    ]
  end

  defp command, do: OptionParser.split(System.get_env("DSPEX_COMMAND", "dspex serve"))

  # As providers name their keys: OPENAI_API_KEY for openai/…
  defp with_key(model) do
    name = model |> String.split("/") |> hd() |> String.upcase() |> Kernel.<>("_API_KEY")
    if System.get_env(name), do: %{model: model, api_key_env: name}, else: %{model: model}
  end

  # The language model of one prediction: it asks another prediction for half of its answer.
  defp answer_in_elixir(%{"messages" => messages}, callback) do
    inner = DSPex.predict!(Demo.DSPex, {"Predict", @qa}, %{question: "What is a callback?"}, parent: callback)

    text =
      "Elixir #{System.version()} read #{length(messages)} messages and asked DSPy: #{short(inner.answer)}"

    %{text: "[[ ## answer ## ]]\n#{text}\n\n[[ ## completed ## ]]", tokens_in: 0, tokens_out: 0}
  end

  defp start do
    DSPex.echo!(Demo.DSPex, "hello", timeout: 60_000)
    two_workers(500)
    "#{length(workers())} workers, pids #{Enum.map_join(workers(), ", ", & &1["pid"])}"
  end

  # The first answers while the second is still starting.
  defp two_workers(tries) do
    if length(workers()) < 2 and tries > 0, do: Process.sleep(10) && two_workers(tries - 1)
  end

  defp typed do
    prediction = DSPex.predict!(Demo.DSPex, {"Predict", City}, city: "Oslo")
    true = is_integer(prediction.people) and is_boolean(prediction.by_the_sea) and is_list(prediction.sights)
    fields(prediction)
  end

  defp reasoned do
    program = DSPex.create!(Demo.DSPex, {"ChainOfThought", City}, program: "city")
    prediction = DSPex.predict!(Demo.DSPex, program, city: "Oslo")
    "stored as #{program.id}, version #{program.version}\n" <> fields(prediction)
  end

  defp many do
    {microseconds, outcomes} = :timer.tc(fn -> predict_all(200) end)
    200 = Enum.count(outcomes, &match?({:ok, _}, &1))
    "all 200 answered in #{div(microseconds, 1000)} ms by workers #{answered_by(outcomes)}"
  end

  defp streamed do
    IO.write("    ")

    Demo.DSPex
    |> DSPex.stream({"Predict", @qa}, %{question: "Why is the sky blue?"}, lm: "streaming")
    |> Enum.reduce(0, fn
      %DSPex.Token{field: "answer", text: text}, count ->
        IO.write(text)
        count + 1

      _status_or_prediction, count ->
        count
    end)
    |> then(fn count ->
      IO.write("\n")
      "#{count} pieces, then the whole prediction"
    end)
  end

  defp called_back do
    DSPex.predict!(Demo.DSPex, {"Predict", @qa}, %{question: "Who answers?"}, lm: "elixir").answer
  end

  defp killed do
    tasks = for number <- 1..200, do: Task.async(fn -> predict(number) end)
    %{"pid" => pid} = hd(workers())
    {_, 0} = System.cmd("kill", ["-KILL", "#{pid}"])
    outcomes = Task.await_many(tasks, 120_000)
    200 = Enum.count(outcomes, &match?({:ok, _}, &1))
    repeated = Enum.count(outcomes, fn {:ok, prediction} -> (prediction.meta["attempt"] || 1) > 1 end)

    "worker with pid #{pid} killed; all 200 answered, #{repeated} of them repeated by workers #{answered_by(outcomes)}"
  end

  defp replaced do
    two_workers(500)
    tasks = for number <- 1..200, do: Task.async(fn -> predict(number) end)
    numbers = DSPex.recycle!(Demo.DSPex, :all)
    outcomes = Task.await_many(tasks, 120_000)
    200 = Enum.count(outcomes, &match?({:ok, _}, &1))
    "workers #{Enum.join(numbers, " and ")} replaced; all 200 answered by workers #{answered_by(outcomes)}"
  end

  defp deadline do
    {:error, %{type: :deadline} = error} =
      DSPex.predict(Demo.DSPex, {"Predict", @qa}, %{question: "Slow?"}, lm: "slow", timeout: 300)

    Exception.message(error)
  end

  defp cancelled do
    {:ok, call} = DSPex.async(Demo.DSPex, {"Predict", @qa}, %{question: "Slow?"}, lm: "slow")
    Process.sleep(100)
    DSPex.cancel(call)
    {:error, %{type: :cancelled} = error} = DSPex.await(call)
    Exception.message(error)
  end

  defp stop do
    pids = Enum.map(workers(), & &1["pid"])
    :ok = DSPex.stop(Demo.DSPex)
    gone(pids, 100)
    "no process is left"
  end

  # An exit is seen by its parent a moment after it happens.
  defp gone(pids, tries) do
    alive = Enum.filter(pids, &match?({_, 0}, System.cmd("kill", ["-0", "#{&1}"], stderr_to_stdout: true)))

    cond do
      alive == [] -> :ok
      tries == 0 -> raise "processes #{inspect(alive)} are still there"
      true -> Process.sleep(10) && gone(alive, tries - 1)
    end
  end

  defp predict_all(count) do
    tasks = for number <- 1..count, do: Task.async(fn -> predict(number) end)
    Task.await_many(tasks, 120_000)
  end

  defp predict(number),
    do: DSPex.predict(Demo.DSPex, {"Predict", @qa}, %{question: "What is #{number} + #{number}?"})

  defp workers, do: DSPex.info!(Demo.DSPex)["workers"]

  defp answered_by(outcomes) do
    outcomes
    |> Enum.frequencies_by(fn {:ok, prediction} -> prediction.meta["worker"] end)
    |> Enum.map_join(", ", fn {worker, count} -> "#{worker} (#{count})" end)
  end

  defp fields(prediction),
    do: Enum.map_join(prediction.fields, "\n", fn {name, value} -> "#{name}: #{short(value)}" end)

  defp short(text) when is_binary(text),
    do: if(String.length(text) > 60, do: String.slice(text, 0, 60) <> "…", else: text)

  defp short(value), do: inspect(value)

  defp step(title, function) do
    say("\n▸ #{title}")
    function.() |> String.split("\n") |> Enum.each(&say("    " <> &1))
  end

  defp say(text), do: IO.puts(text)
end

Demo.run()
