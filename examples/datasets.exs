# Rows that stay: stored in versions, shared out by seed, and a program measured on one side of them.

command = "DSPEX_COMMAND" |> System.get_env("dspex serve") |> String.split()

{:ok, _} =
  DSPex.start_link(
    name: Example.DSPex,
    command: command,
    args: ["--workers", "2", "--log-level", "error", "--store", "memory"],
    lms: %{"default" => System.get_env("DSPEX_LM", "sim/example")}
  )

alias DSPex.Datasets

# Lazy: rows go out a thousand at a time, and are a version when all of them are there.
reviews =
  Stream.map(1..1_200, fn number ->
    %{review: "Review #{number}: it broke after #{rem(number, 9) + 1} days.", lasted: rem(number, 9) + 1}
  end)

{:ok, first} = Datasets.put(Example.DSPex, "reviews", reviews, signature: "review -> lasted: int")
{:ok, second} = Datasets.append(Example.DSPex, first, [%{review: "It broke at once.", lasted: 0}])
version = Datasets.get!(Example.DSPex, second)
IO.puts("version #{second.version} has #{version.rows} rows; checksum #{String.slice(version.checksum, 0, 12)}")

{:ok, %{train: train, dev: dev}} = Datasets.split(Example.DSPex, second, [train: 0.98, dev: 0.02], seed: 7)
IO.puts("train: #{Enum.count(Datasets.rows(Example.DSPex, train))} rows")

rows = Enum.to_list(Datasets.rows(Example.DSPex, dev))
inputs = Enum.map(rows, &Map.take(&1, version.input_keys))
{:ok, batch} = DSPex.batch(Example.DSPex, {"Predict", "review -> lasted: int"}, inputs)

right = Enum.zip(rows, batch.results) |> Enum.count(fn {row, {:ok, prediction}} -> prediction.lasted == row["lasted"] end)
IO.puts("dev: #{right} of #{length(rows)} right, as may be expected of a model that guesses")

{:error, error} = Datasets.append(Example.DSPex, second, {:csv, "review,lasted\nIt broke.,often\n"})
IO.puts("refused: #{error.message}")
