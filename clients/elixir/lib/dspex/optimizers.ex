defmodule DSPex.Optimizers do
  @moduledoc """
  Better programs by DSPy's optimizers: a program, rows and a metric in, the program's next version out.

      optimizer = DSPex.Optimizer.new(:MIPROv2, auto: "light")

      {:ok, made} =
        DSPex.Optimizers.optimize(MyApp.DSPex, "qa", optimizer,
          metric: DSPex.Metric.exact_match("answer"),
          trainset: DSPex.Dataset.new("qa-rows"),
          budget: [usd: 5.0],
          on_event: &IO.inspect/1
        )

      made.scores
      DSPex.predict(MyApp.DSPex, made.program, question: "Why?")

  An optimizer runs as a job of `DSPex.Jobs`: who dies, is restarted or deployed anew does not end it, and
  nothing is paid for twice. `optimize/4` waits for it; `start/4` does not, and `result/3` tells later what
  came of it. `docs/optimizers.md` has all of them, with their options.

  ## What is optimized

  The id or `DSPex.Program` of a stored program, whose next version the result becomes; or a spec, of which
  nothing is stored unless `save_as:` says so. For `Ensemble` a list of either. A tag means the version that
  it is on when the job is submitted.

  ## Options

  * `:trainset`: what is learned from: a list of maps, keyword lists or `DSPex.Example`s, or a
    `DSPex.Dataset` or the id of one; its rows have the program's inputs, and what the metric reads
  * `:valset`: the same; the program is scored on it before and after
  * `:metric`: a `DSPex.Metric`, or whatever stands for one
  * `:teacher`: a program, as above, that makes demos; by default the program itself. `:teacher_lm`: the
    language model that it asks
  * `:lm`: a configured language model, for all that name none; by default `"default"`
  * `:seed`: of the optimizer; by default DSPy's own
  * `:num_threads`: rows at once, 1 to 64; 8 by default
  * `:save_as`: an id, or `[program: id, tags: […], note: "…"]`
  * `:budget`, `:deadline`, `:experiment`, `:key`, `:note`, `:write_id`: of the job, as of `DSPex.Jobs.submit/4`
  * `:on_event` (of `optimize/4`): a function that is called, in the calling process, with what
    `DSPex.Jobs.follow/3` gives: `{:event, event}`, such as one of the type `"trial"`, and `{:progress, figures}`
  * `:timeout`: of `start/4` and `result/3` that of a call; of `optimize/4` that of all of it, by default
    none. Then it is a `:deadline`, and the job goes on

  A metric, tools and models may be functions of the instance; they are called while the job runs, and when
  this node was restarted it goes on with the new one's.
  """

  alias DSPex.{Dataset, Error, Example, Job, Jobs, Metric, Optimizer, Options, Program, Spec, Tagged}
  alias DSPex.Optimizers.Optimized

  @own [:lm, :metric, :num_threads, :save_as, :seed, :teacher, :teacher_lm, :trainset, :valset]
  @job [:budget, :deadline, :experiment, :key, :note, :write_id]

  @typedoc "What is optimized: a stored program, a spec, or a list of them."
  @type program :: Program.t() | String.t() | Spec.source() | [Program.t() | String.t() | Spec.source()]

  @doc """
  Optimizes a program, and waits until it is done.

  What fails has the job's own error; of a spent budget it is `:budget_spent`, with the best program so far
  in `details["best"]`.
  """
  @spec optimize(DSPex.t(), program(), Optimizer.source(), keyword()) :: DSPex.result(Optimized.t())
  def optimize(dspex, program, optimizer, options \\ []) do
    with {:ok, listener, options} <- listener(options),
         {waiting, options} = Keyword.split(options, [:timeout]),
         {:ok, job} <- start(dspex, program, optimizer, options),
         :ok <- wait(dspex, job, listener, waiting),
         do: result(dspex, job, Keyword.drop(options, @own ++ @job))
  end

  @doc "The same, or raises `DSPex.Error`."
  @spec optimize!(DSPex.t(), program(), Optimizer.source(), keyword()) :: Optimized.t()
  def optimize!(dspex, program, optimizer, options \\ []),
    do: Error.bang(optimize(dspex, program, optimizer, options))

  @doc "Has a program optimized, and returns the job without waiting for it."
  @spec start(DSPex.t(), program(), Optimizer.source(), keyword()) :: DSPex.result(Job.t())
  def start(dspex, program, optimizer, options \\ []) do
    with {:ok, own, options} <- own(options),
         {:ok, subject} <- subject(program),
         {:ok, optimizer} <- Optimizer.from(optimizer),
         {:ok, fields} <- fields(own) do
      request = subject |> Map.merge(fields) |> Map.put("optimizer", Optimizer.to_wire(optimizer))
      Jobs.submit(dspex, "optimize", request, options)
    end
  end

  @doc "The same, or raises `DSPex.Error`."
  @spec start!(DSPex.t(), program(), Optimizer.source(), keyword()) :: Job.t()
  def start!(dspex, program, optimizer, options \\ []),
    do: Error.bang(start(dspex, program, optimizer, options))

  @doc "What a job of `start/4` that is done has come to."
  @spec result(DSPex.t(), Jobs.job(), keyword()) :: DSPex.result(Optimized.t())
  def result(dspex, job, options \\ []) do
    with {:ok, told} <- Jobs.result(dspex, job, options), do: {:ok, Optimized.from_result(told, job)}
  end

  @doc "The same, or raises `DSPex.Error`."
  @spec result!(DSPex.t(), Jobs.job(), keyword()) :: Optimized.t()
  def result!(dspex, job, options \\ []), do: Error.bang(result(dspex, job, options))

  @doc """
  All optimizers of the server's DSPy, by name: maps as of `system.describe`.

  Each has `"name"`, `"doc"`, `"available"`, `"options"` and `"compile"` (name to `"type"`, `"doc"`,
  `"required"`, `"default"`), `"takes"` and `"needs"`, and the `"reason"` where it cannot run there.
  """
  @spec list(DSPex.t(), keyword()) :: DSPex.result([map()])
  def list(dspex, options \\ []) do
    with {:ok, told} <- DSPex.describe(dspex, options), do: {:ok, told["optimizers"] || []}
  end

  @doc "The same, or raises `DSPex.Error`."
  @spec list!(DSPex.t(), keyword()) :: [map()]
  def list!(dspex, options \\ []), do: Error.bang(list(dspex, options))

  @doc "One of `list/2`, by its name."
  @spec describe(DSPex.t(), String.t() | atom(), keyword()) :: DSPex.result(map())
  def describe(dspex, name, options \\ []) do
    with {:ok, optimizers} <- list(dspex, options) do
      case Enum.find(optimizers, &(&1["name"] == to_string(name))) do
        nil -> {:error, unknown(name, optimizers)}
        optimizer -> {:ok, optimizer}
      end
    end
  end

  @doc "The same, or raises `DSPex.Error`."
  @spec describe!(DSPex.t(), String.t() | atom(), keyword()) :: map()
  def describe!(dspex, name, options \\ []), do: Error.bang(describe(dspex, name, options))

  defp unknown(name, optimizers) do
    known = Enum.map_join(optimizers, ", ", & &1["name"])
    Error.invalid_argument("optimizer", "one of #{known}", name)
  end

  # -- waiting -----------------------------------------------------------------------------

  defp listener(options) do
    if Keyword.keyword?(options) do
      case Keyword.pop(options, :on_event) do
        {listener, options} when is_nil(listener) or is_function(listener, 1) ->
          {:ok, listener, options}

        {other, _options} ->
          {:error, Error.invalid_argument("on_event", "a function of one argument", other)}
      end
    else
      {:error, Error.invalid_argument("options", "a keyword list", options)}
    end
  end

  defp wait(dspex, job, nil, waiting) do
    with {:ok, _job} <- Jobs.await(dspex, job, waiting), do: :ok
  end

  defp wait(dspex, job, listener, waiting) do
    dspex
    |> Jobs.follow(job, waiting)
    |> Enum.each(fn
      {:ended, _job} -> :ok
      item -> listener.(item)
    end)
  rescue
    error in Error -> {:error, error}
  end

  # -- the request -------------------------------------------------------------------------

  defp own(options) do
    if Keyword.keyword?(options) do
      {own, options} = Keyword.split(options, @own)
      {:ok, Map.new(own), options}
    else
      {:error, Error.invalid_argument("options", "a keyword list", options)}
    end
  end

  # A keyword list is a spec.
  defp subject([_ | _] = programs) do
    if Keyword.keyword?(programs), do: choice(programs), else: subjects(programs)
  end

  defp subject(program), do: choice(program)

  defp subjects(programs) do
    with {:ok, choices} <- all(programs, &choice/1), do: {:ok, %{"programs" => choices}}
  end

  defp choice(program) when is_binary(program) or is_struct(program, Program) do
    with {:ok, program} <- Program.from(program), do: {:ok, Program.to_meta(program)}
  end

  defp choice(spec) do
    with {:ok, spec} <- Spec.from_program(spec), do: {:ok, %{"spec" => Spec.to_wire(spec)}}
  end

  defp fields(own) do
    own
    |> Enum.reject(fn {key, value} -> is_nil(value) or key == :teacher_lm end)
    |> all(fn {key, value} -> field(key, value, own) end)
    |> case do
      {:ok, fields} -> {:ok, Map.new(fields)}
      error -> error
    end
  end

  defp field(key, rows, _own) when key in [:trainset, :valset], do: named(key, rows(rows, to_string(key)))
  defp field(:metric, metric, _own), do: named(:metric, Metric.to_wire(metric, "metric"))

  defp field(:teacher, teacher, own) do
    with {:ok, choice} <- choice(teacher) do
      lm = if own[:teacher_lm], do: %{"lm" => to_string(own.teacher_lm)}, else: %{}
      {:ok, {"teacher", Map.merge(choice, lm)}}
    end
  end

  defp field(:save_as, program, _own) when is_binary(program) or is_struct(program, Program) do
    with {:ok, program} <- Program.from(program), do: {:ok, {"save_as", %{"program" => program.id}}}
  end

  defp field(:save_as, choice, _own) do
    if Keyword.keyword?(choice) or (is_map(choice) and not is_struct(choice)),
      do: {:ok, {"save_as", choice |> Map.new() |> Options.plain()}},
      else: {:error, Error.invalid_argument("save_as", "an id, or program:, tags: and note:", choice)}
  end

  defp field(:lm, lm, _own) when is_atom(lm) or is_binary(lm), do: {:ok, {"lm", to_string(lm)}}

  defp field(key, number, _own) when key in [:num_threads, :seed] and is_integer(number),
    do: {:ok, {to_string(key), number}}

  defp field(:lm, other, _own),
    do: {:error, Error.invalid_argument("lm", "the name of a language model", other)}

  defp field(key, other, _own),
    do: {:error, Error.invalid_argument(to_string(key), "an integer", other)}

  defp named(key, {:ok, value}), do: {:ok, {to_string(key), value}}
  defp named(_key, error), do: error

  defp rows(dataset, _path) when is_binary(dataset) or is_struct(dataset, Dataset) do
    with {:ok, dataset} <- Dataset.from(dataset), do: {:ok, Dataset.to_wire(dataset)}
  end

  defp rows(rows, path) do
    if is_list(rows) or (not is_map(rows) and Enumerable.impl_for(rows) != nil),
      do: rows |> Enum.with_index() |> all(fn {row, index} -> row(row, "#{path}[#{index}]") end),
      else: {:error, Error.invalid_argument(path, "a list of rows, a DSPex.Dataset or its id", rows)}
  end

  defp row(%Tagged{tag: "example"} = example, _path), do: {:ok, Example.fields(example)}
  defp row(row, _path) when is_map(row) and not is_struct(row), do: {:ok, row}

  defp row(row, path) do
    if Keyword.keyword?(row),
      do: {:ok, Map.new(row)},
      else: {:error, Error.invalid_argument(path, "a map or keyword list of field and value", row)}
  end

  defp all(items, read) do
    items
    |> Enum.reduce_while([], fn item, done ->
      case read.(item) do
        {:ok, value} -> {:cont, [value | done]}
        {:error, error} -> {:halt, {:error, error}}
      end
    end)
    |> case do
      {:error, error} -> {:error, error}
      done -> {:ok, Enum.reverse(done)}
    end
  end
end
