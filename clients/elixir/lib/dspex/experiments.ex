defmodule DSPex.Experiments do
  @moduledoc """
  Experiments in the server's store: runs with their parameters, metrics over time, artifacts and lineage.

      {:ok, run} = DSPex.Experiments.begin(MyApp.DSPex, "demos", params: %{k: 4}, lineage: %{program: "qa"})
      :ok = DSPex.Experiments.log(MyApp.DSPex, run, f1: 0.61, cost: 0.02)
      :ok = DSPex.Experiments.log(MyApp.DSPex, run, f1: 0.67)
      :ok = DSPex.Experiments.attach(MyApp.DSPex, run, "answers.csv", csv, media_type: "text/csv")
      :ok = DSPex.Experiments.finish(MyApp.DSPex, run)
      {:ok, page} = DSPex.Experiments.runs(MyApp.DSPex, "demos", sort: "f1")

  Parameters and lineage are maps or keyword lists of names to strings, atoms, numbers and booleans.
  What is said again replaces what was said before; values of a metric are all kept, in order. Several
  processes may say things of one run at the same time. A run that has ended takes no more.

  ## Writing once

  As of `DSPex.Programs`: a write whose answer was lost is made again with the same `write_id:`, and is
  made once. All functions take the options of a call, such as `timeout:`.
  """

  alias DSPex.Experiments.Run
  alias DSPex.{Binary, Error, Options, Page, Stored}

  @typedoc "Names to strings, atoms, numbers and booleans."
  @type entries :: keyword() | %{optional(atom() | String.t()) => term()}

  @doc """
  Begins a run, and with the first one the experiment.

  Options: `run:` the id wanted, else it is `run-` and a number; `params:`; `lineage:`; `note:`; `write_id:`.
  """
  @spec begin(DSPex.t(), String.t(), keyword()) :: DSPex.result(Run.t())
  def begin(dspex, experiment, options \\ []) do
    with {:ok, options} <- Options.call(options, [:lineage, :note, :params, :run, :write_id]) do
      payload = options |> Stored.payload([:note, :run]) |> Map.merge(said(options))

      dspex
      |> Stored.write("experiment.begin", Map.put(payload, "experiment", experiment), %{}, options)
      |> Stored.read(&Run.new(&1["experiment"], &1["run"]))
    end
  end

  @doc "The same, or raises `DSPex.Error`."
  @spec begin!(DSPex.t(), String.t(), keyword()) :: Run.t()
  def begin!(dspex, experiment, options \\ []), do: Error.bang(begin(dspex, experiment, options))

  @doc """
  Says values of metrics, in their order; a value is a number, or `{number, step}`.

      :ok = DSPex.Experiments.log(dspex, run, loss: 0.5, loss: 0.25)
      :ok = DSPex.Experiments.log(dspex, run, %{"f1" => {0.67, 100}})

  Without a step it is one more than the metric's last. Options: `params:` and `lineage:`, more of them;
  `write_id:`.
  """
  @spec log(DSPex.t(), Run.t(), entries(), keyword()) :: :ok | {:error, Error.t()}
  def log(dspex, %Run{} = run, values, options \\ []) do
    with {:ok, options} <- Options.call(options, [:lineage, :params, :write_id]),
         {:ok, points} <- points(values) do
      payload = Map.merge(said(options), %{"points" => points})
      change(dspex, "experiment.log", run, payload, options)
    end
  end

  @doc "The same, or raises `DSPex.Error`."
  @spec log!(DSPex.t(), Run.t(), entries(), keyword()) :: :ok
  def log!(dspex, run, values, options \\ []), do: bang(log(dspex, run, values, options))

  @doc """
  Keeps something that the run has made, by name; one of the same name is replaced.

  `content` is text, or bytes where it is no UTF-8 or a `DSPex.Binary`; 4 MiB at most. Options:
  `media_type:`; `write_id:`.
  """
  @spec attach(DSPex.t(), Run.t(), String.t(), binary() | Binary.t(), keyword()) :: :ok | {:error, Error.t()}
  def attach(dspex, %Run{} = run, name, content, options \\ []) do
    with {:ok, options} <- Options.call(options, [:media_type, :write_id]) do
      payload = options |> Stored.payload([:media_type]) |> Map.merge(%{"name" => name, "content" => content})
      change(dspex, "experiment.attach", run, payload, options)
    end
  end

  @doc "The same, or raises `DSPex.Error`."
  @spec attach!(DSPex.t(), Run.t(), String.t(), binary() | Binary.t(), keyword()) :: :ok
  def attach!(dspex, run, name, content, options \\ []), do: bang(attach(dspex, run, name, content, options))

  @doc "Ends a run: `:done`, or `state: :failed`. Nothing can be said of it after that. Options: `write_id:`."
  @spec finish(DSPex.t(), Run.t(), keyword()) :: :ok | {:error, Error.t()}
  def finish(dspex, %Run{} = run, options \\ []) do
    with {:ok, options} <- Options.call(options, [:state, :write_id]),
         do: change(dspex, "experiment.end", run, Stored.payload(options, [:state]), options)
  end

  @doc "The same, or raises `DSPex.Error`."
  @spec finish!(DSPex.t(), Run.t(), keyword()) :: :ok
  def finish!(dspex, run, options \\ []), do: bang(finish(dspex, run, options))

  defp change(dspex, method, run, payload, options) do
    dspex |> Stored.write(method, Map.merge(payload, named(run)), %{}, options) |> Stored.done()
  end

  @doc "What is known of a run."
  @spec get(DSPex.t(), Run.t(), keyword()) :: DSPex.result(Run.t())
  def get(dspex, %Run{} = run, options \\ []) do
    with {:ok, options} <- Options.call(options, []) do
      dspex |> Stored.ask("experiment.run", named(run), %{}, options) |> Stored.read(&Run.from_wire/1)
    end
  end

  @doc "The same, or raises `DSPex.Error`."
  @spec get!(DSPex.t(), Run.t(), keyword()) :: Run.t()
  def get!(dspex, run, options \\ []), do: Error.bang(get(dspex, run, options))

  @doc """
  A page of an experiment's runs, the newest first.

  Options: `sort:` name of a metric, the highest last value first; `lowest: true` the other way; `limit:`;
  `offset:` the `next` of the page before.
  """
  @spec runs(DSPex.t(), String.t(), keyword()) :: DSPex.result(Page.t(Run.t()))
  def runs(dspex, experiment, options \\ []) do
    {sort, options} = Keyword.pop(options, :sort)
    keys = [:limit, :lowest, :offset]

    with {:ok, options} <- Options.call(options, keys) do
      payload = options |> Stored.payload(keys) |> Map.put("experiment", experiment)
      payload = if sort, do: Map.put(payload, "sort", to_string(sort)), else: payload

      dspex
      |> Stored.ask("experiment.runs", payload, %{}, options)
      |> Stored.read(&Page.from_wire(&1, "runs", fn row -> Run.from_wire(row) end))
    end
  end

  @doc "The same, or raises `DSPex.Error`."
  @spec runs!(DSPex.t(), String.t(), keyword()) :: Page.t(Run.t())
  def runs!(dspex, experiment, options \\ []), do: Error.bang(runs(dspex, experiment, options))

  @doc """
  A lazy stream of the values of a run's metrics, in the order in which they were said; raises `DSPex.Error`.

  Each is `%{name: …, step: …, value: …, at: …}`. Options: `metric:` only that one's.
  """
  @spec points(DSPex.t(), Run.t(), keyword()) :: Enumerable.t()
  def points(dspex, %Run{} = run, options \\ []) do
    Stored.stream(Keyword.put_new(options, :limit, 1_000), :offset, fn options ->
      {metric, options} = Keyword.pop(options, :metric)
      {after_, options} = Keyword.pop(options, :offset, 0)

      with {:ok, options} <- Options.call(options, [:limit]) do
        payload = options |> Stored.payload([:limit]) |> Map.merge(named(run)) |> Map.put("after", after_)
        payload = if metric, do: Map.put(payload, "metric", to_string(metric)), else: payload
        answer = Stored.ask(dspex, "experiment.points", payload, %{}, options)
        Stored.read(answer, &Page.from_wire(&1, "points", fn row -> point(row) end))
      end
    end)
  end

  defp point(row), do: %{name: row["name"], step: row["step"], value: row["value"], at: row["at"]}

  @doc "What a run has made, by name: text as a string, bytes as a `DSPex.Binary`."
  @spec artifact(DSPex.t(), Run.t(), String.t(), keyword()) :: DSPex.result(String.t() | Binary.t())
  def artifact(dspex, %Run{} = run, name, options \\ []) do
    with {:ok, options} <- Options.call(options, []) do
      payload = Map.put(named(run), "name", name)
      dspex |> Stored.ask("experiment.artifact", payload, %{}, options) |> Stored.read(& &1["content"])
    end
  end

  @doc "The same, or raises `DSPex.Error`."
  @spec artifact!(DSPex.t(), Run.t(), String.t(), keyword()) :: String.t() | Binary.t()
  def artifact!(dspex, run, name, options \\ []), do: Error.bang(artifact(dspex, run, name, options))

  @doc """
  A page of the experiments, by id: `%{experiment: …, begun: …, created: …, updated: …}`.

  Options: `prefix:` only ids that begin so; `limit:`; `after:` the `next` of the page before.
  """
  @spec list(DSPex.t(), keyword()) :: DSPex.result(Page.t(map()))
  def list(dspex, options \\ []) do
    keys = [:after, :limit, :prefix]

    with {:ok, options} <- Options.call(options, keys) do
      dspex
      |> Stored.ask("experiment.list", Stored.payload(options, keys), %{}, options)
      |> Stored.read(&Page.from_wire(&1, "experiments", fn row -> head(row) end))
    end
  end

  @doc "The same, or raises `DSPex.Error`."
  @spec list!(DSPex.t(), keyword()) :: Page.t(map())
  def list!(dspex, options \\ []), do: Error.bang(list(dspex, options))

  defp head(row) do
    %{
      experiment: row["experiment"],
      begun: row["begun"],
      created: row["created"],
      updated: row["updated"]
    }
  end

  @doc "Deletes a run, or an experiment with all its runs; no error where there is none."
  @spec delete(DSPex.t(), String.t() | Run.t(), keyword()) :: :ok | {:error, Error.t()}
  def delete(dspex, what, options \\ []) do
    with {:ok, options} <- Options.call(options, []) do
      payload = if is_struct(what, Run), do: named(what), else: %{"experiment" => what}
      dspex |> Stored.ask("experiment.delete", payload, %{}, options) |> Stored.done()
    end
  end

  @doc "The same, or raises `DSPex.Error`."
  @spec delete!(DSPex.t(), String.t() | Run.t(), keyword()) :: :ok
  def delete!(dspex, what, options \\ []), do: bang(delete(dspex, what, options))

  defp named(run), do: %{"experiment" => run.experiment, "run" => run.id}

  defp bang(:ok), do: :ok
  defp bang({:error, error}), do: raise(error)

  defp said(options) do
    for key <- [:params, :lineage], options[key] != nil, into: %{} do
      {Atom.to_string(key), Map.new(options[key], fn {name, value} -> {to_string(name), plain(value)} end)}
    end
  end

  defp plain(value) when is_atom(value) and value not in [nil, true, false], do: Atom.to_string(value)
  defp plain(value), do: value

  defp points(values) do
    {:ok, Enum.map(values, &said_point/1)}
  rescue
    error in Error -> {:error, error}
  end

  defp said_point({name, {value, step}}) when is_number(value) and is_integer(step),
    do: %{"name" => to_string(name), "value" => value * 1.0, "step" => step}

  defp said_point({name, value}) when is_number(value),
    do: %{"name" => to_string(name), "value" => value * 1.0}

  defp said_point({name, other}),
    do: raise(Error.invalid_argument("values.#{name}", "a number, or {number, step}", other))

  defp said_point(other), do: raise(Error.invalid_argument("values", "names with values", other))
end
