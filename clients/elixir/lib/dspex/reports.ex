defmodule DSPex.Reports do
  @moduledoc """
  What came of evaluations, jobs and experiments, for people to read.

      :ok = DSPex.Reports.write(MyApp.DSPex, [before, made], "better.html")
      {:ok, text} = DSPex.Reports.make(MyApp.DSPex, made, format: :markdown)
      :ok = DSPex.Reports.write(MyApp.DSPex, {:experiment, "demos"}, "runs.csv")

  A report is of

  * an evaluation, as `DSPex.Evaluation` has it, or its id: its scores, cost and time, failures and rows
  * a list of two to eight of them, over the same rows: each held against each, row by row; the first one
    is what was before
  * `{:job, job}`, as `DSPex.Jobs` has it, or its id: how it stands, what an optimizer has tried with which scores, what that has cost, its events
  * `{:experiment, id}`: its runs, with their parameters and metrics over time

  and in a format:

  * `:html`: one self-contained page, which loads and sends nothing
  * `:markdown`: what it comes to, for a pull request or a chat
  * `:json`: the records with all rows; `:csv`: a line for each row

  Texts of rows stay texts in all of them, whatever they hold; `docs/reports.md` says how.

  ## Options

  * `format:` as above; by default `:html`, and of `write/4` what the path ends in
  * of several evaluations, as of `DSPex.Evaluation.compare/3`: `metrics:`, `seed:`, `resamples:`, `confidence:`
  * those of a call, such as `timeout:`; and `credit:`, how many pieces of the text may be on their way
  """

  alias DSPex.{Call, Error, Evaluation, Job, Name, Options, Stored}

  @credit 16
  @comparing [:confidence, :metrics, :resamples, :seed]
  @formats [:html, :markdown, :json, :csv]
  @endings %{".html" => :html, ".htm" => :html, ".md" => :markdown, ".json" => :json, ".csv" => :csv}

  @typedoc "What a report is about."
  @type subject :: evaluation() | [evaluation()] | {:job, Job.t() | String.t()} | {:experiment, String.t()}

  @typedoc "An evaluation or its id."
  @type evaluation :: Evaluation.t() | String.t()

  @doc "A report, whole."
  @spec make(DSPex.t(), subject(), keyword()) :: DSPex.result(String.t())
  def make(dspex, subject, options \\ []) do
    with {:ok, call} <- start(dspex, subject, options), do: collect(call, [])
  end

  @doc "The same, or raises `DSPex.Error`."
  @spec make!(DSPex.t(), subject(), keyword()) :: String.t()
  def make!(dspex, subject, options \\ []), do: Error.bang(make(dspex, subject, options))

  @doc """
  A lazy stream of a report's text in pieces, which need not be in memory together; raises `DSPex.Error`.

  The server goes on as the pieces are taken. Halting it cancels the call.
  """
  @spec stream(DSPex.t(), subject(), keyword()) :: Enumerable.t()
  def stream(dspex, subject, options \\ []) do
    Stream.resource(fn -> Error.bang(start(dspex, subject, options)) end, &next/1, &close/1)
  end

  @doc """
  Writes a report to a file, piece by piece.

  The file is replaced when all of it is there: a report that breaks off replaces none.
  """
  @spec write(DSPex.t(), subject(), Path.t(), keyword()) :: :ok | {:error, Error.t()}
  def write(dspex, subject, path, options \\ []) do
    options = Keyword.put_new_lazy(options, :format, fn -> Map.get(@endings, ending(path)) end)
    beside = "#{path}.#{System.unique_integer([:positive])}.part"

    with :ok <- named(options, path),
         do: dspex |> stream(subject, options) |> into_file(path, beside)
  rescue
    error in Error -> {:error, error}
    failure in [File.Error, File.RenameError] -> {:error, unwritable(path, failure)}
  end

  @doc "The same, or raises `DSPex.Error`."
  @spec write!(DSPex.t(), subject(), Path.t(), keyword()) :: :ok
  def write!(dspex, subject, path, options \\ []) do
    with {:error, error} <- write(dspex, subject, path, options), do: raise(error)
  end

  defp ending(path), do: path |> to_string() |> Path.extname() |> String.downcase()

  defp named(options, path) do
    if options[:format],
      do: :ok,
      else: {:error, Error.invalid_argument("format", "one of #{words()}, or a path that ends so", path)}
  end

  # What was written until then is of no use to anybody.
  defp into_file(pieces, path, beside) do
    pieces |> Stream.into(File.stream!(beside)) |> Stream.run()
    File.rename!(beside, path)
  after
    File.rm(beside)
  end

  defp unwritable(path, failure) do
    reason = :file.format_error(failure.reason)
    Error.invalid_argument("path", "a file that can be written (#{reason})", path)
  end

  # -- the call --------------------------------------------------------------------------

  defp start(dspex, subject, options) do
    {format, options} = Keyword.pop(options, :format, :html)

    with :ok <- format(format),
         {:ok, options} <- Options.call(options, [:credit | @comparing]),
         {:ok, about} <- about(subject, options) do
      meta = %{"credit" => Map.get(options, :credit, @credit)}
      DSPex.open(dspex, "report.make", Map.put(about, "format", Atom.to_string(format)), meta, options)
    end
  end

  defp format(format) do
    if format in @formats,
      do: :ok,
      else: {:error, Error.invalid_argument("format", "one of #{words()}", format)}
  end

  defp words, do: Enum.map_join(@formats, ", ", &inspect/1)

  defp about({kind, id}, options) when kind in [:job, :experiment],
    do: with(:ok <- alone(options), do: named_by(Atom.to_string(kind), id))

  defp about(evaluations, options) when is_list(evaluations) do
    ids = for {evaluation, at} <- Enum.with_index(evaluations), do: named_by("subject[#{at}]", evaluation)

    case Enum.find(ids, &match?({:error, _error}, &1)) do
      nil ->
        {:ok, %{"comparison" => comparison(for({:ok, named} <- ids, {_key, id} <- named, do: id), options)}}

      error ->
        error
    end
  end

  defp about(evaluation, options), do: with(:ok <- alone(options), do: named_by("evaluation", evaluation))

  defp comparison(ids, options), do: Map.put(Stored.payload(options, @comparing), "evaluations", ids)

  # These say how several evaluations are compared, and would be forgotten without a word.
  defp alone(options) do
    case Enum.find(@comparing, &Map.has_key?(options, &1)) do
      nil ->
        :ok

      key ->
        {:error, Error.invalid_argument("#{key}", "nothing, but for a list of evaluations", options[key])}
    end
  end

  defp named_by(field, %Evaluation{id: id}), do: named_by(field, id)
  defp named_by("job", %Job{id: id}), do: named_by("job", id)

  defp named_by(field, id) do
    if Name.id?(id),
      do: {:ok, %{field => to_string(id)}},
      else: {:error, Error.invalid_argument(field, Name.id(), id)}
  end

  # -- its pieces ------------------------------------------------------------------------

  defp collect(call, pieces) do
    case call |> Call.next() |> element() do
      {:next, piece, call} -> collect(call, [pieces | piece])
      :done -> {:ok, IO.iodata_to_binary(pieces)}
      {:error, error} -> {:error, error}
    end
  end

  defp next(:over), do: {:halt, :over}

  defp next(call) do
    case call |> Call.next() |> element() do
      {:next, piece, call} -> {[piece], call}
      :done -> {:halt, :over}
      {:error, error} -> raise error
    end
  end

  # Also after a raise above: the call is settled then, and abandoning it does nothing.
  defp close(:over), do: :ok
  defp close(call), do: Call.abandon(call)

  defp element({:item, %{"text" => piece}, call}), do: {:next, piece, Call.renew(call)}
  defp element({:ok, %{"format" => _format}, _meta}), do: :done
  defp element({:error, error}), do: {:error, error}
  defp element(_other), do: {:error, Error.new(:internal, "what came is no report")}
end
