# What came of two evaluations, for people to read: a page, Markdown, and a table of rows.

command = "DSPEX_COMMAND" |> System.get_env("dspex serve") |> String.split()

{:ok, _} =
  DSPex.start_link(
    name: Example.DSPex,
    command: command,
    args: ["--log-level", "error", "--store", "memory"],
    lms: %{"default" => System.get_env("DSPEX_LM", "sim/example")}
  )

alias DSPex.{Datasets, Evaluation, Metric, Reports}

signature = "review -> mood: Literal['good', 'bad', 'mixed']"
reviews = [{"It never fails.", "good"}, {"It broke at once.", "bad"}, {"<b>Loud</b>, but fast.", "mixed"}]
rows = for n <- 1..20, {review, mood} <- reviews, do: %{review: "#{review} (#{n})", mood: mood}
data = Datasets.put!(Example.DSPex, "reviews", rows, signature: signature)
metrics = [right: Metric.exact_match("mood")]

[before, made] =
  for module <- ["Predict", "ChainOfThought"],
      do: Evaluation.run!(Example.DSPex, {module, signature}, data, metrics: metrics, evaluation: module)

folder = Path.join(System.tmp_dir!(), "dspex-reports-#{System.pid()}")
File.mkdir_p!(folder)

# The format is what the path ends in; several evaluations are held against each other.
page = Path.join(folder, "better.html")
:ok = Reports.write(Example.DSPex, [before, made], page)
IO.puts("a page of #{File.stat!(page).size} bytes, to be opened in a browser")

{:ok, text} = Reports.make(Example.DSPex, [before, made], format: :markdown)
IO.puts(text |> String.split("## Rows") |> hd())

# A long one need not be in memory: it comes in pieces.
bytes = Example.DSPex |> Reports.stream(before, format: :csv) |> Enum.reduce(0, &(byte_size(&1) + &2))
IO.puts("#{bytes} bytes of CSV")

{:error, error} = Reports.write(Example.DSPex, before, Path.join(folder, "before.pdf"))
IO.puts(error.message)

File.rm_rf!(folder)
DSPex.stop(Example.DSPex)
