defmodule DSPex.Jobs do
  @moduledoc """
  Jobs: work of minutes or hours that goes on whoever dies, in the server's store.

      {:ok, job} = DSPex.Jobs.submit(MyApp.DSPex, "optimize", request, key: "qa-2026", budget: [usd: 5.0])

      for {:event, event} <- DSPex.Jobs.follow(MyApp.DSPex, job), do: IO.inspect(event)

      {:ok, %{saved: program}} = DSPex.Jobs.result(MyApp.DSPex, job)

  A job belongs to nobody's connection. Its worker, its server and this node may die, and it goes on,
  here or at another server of the store, without paying for an answer twice. `docs/jobs.md` says how,
  and which kinds of jobs there are.

  ## Host functions

  What a job calls of the host goes to any client, at the job's server, that offers the function: after
  a restart of this node to the new one. Where none does, the job waits.

  All functions take a `DSPex.Job` or its id, and the options of a call, such as `timeout:`.
  """

  alias DSPex.{Error, Job, Name, Options, Page, Program, Stored}
  alias DSPex.Experiments.Run
  alias DSPex.Jobs.{Event, Following}

  @typedoc "A job or its id."
  @type job :: Job.t() | String.t()

  @typedoc "The best result of a job so far: more is better."
  @type best :: %{score: float(), content: term()}

  @typedoc "What a job that is done came to."
  @type result :: %{result: term(), saved: Program.t() | nil, replay: map()}

  # Tries in a row that may fail before it is given up to follow: some four minutes.
  @patience 120
  @submitting [:budget, :deadline, :experiment, :key, :note, :write_id]

  @doc """
  Has a job done: now, or when there is room for it.

  * `key:` there is one job of a key: submitted again, with the same request, it is the same job, and it is
    not begun anew; with another request it is a `:job_key_reused`
  * `budget:` limits over all attempts: `[lm_calls: 500, tokens: 1_000_000, usd: 5.0]`, any of them
  * `deadline:` milliseconds after which it fails
  * `note:` why, for people
  * `experiment:` the id of an experiment, in which a run tells of the job: its options as parameters, what
    it works on and makes as lineage, its scores over time and what it has cost, and how it ended

  What comes back has the job's `id` and its `run`, and says by `created?` whether it was made now.
  """
  @spec submit(DSPex.t(), String.t() | atom(), map() | keyword(), keyword()) :: DSPex.result(Job.t())
  def submit(dspex, kind, request, options \\ []) do
    with {:ok, options} <- Options.call(options, @submitting),
         {:ok, budget} <- budget(options[:budget]) do
      payload =
        options
        |> Stored.payload([:experiment, :key, :note])
        |> Map.merge(budget)
        |> Map.merge(deadline(options[:deadline]))
        |> Map.merge(%{"kind" => to_string(kind), "request" => Options.plain(request)})

      dspex
      |> Stored.write("job.submit", payload, %{}, options)
      |> Stored.read(&%Job{id: &1["job"], kind: to_string(kind), created?: &1["created"], run: Run.named(&1)})
    end
  end

  @doc "The same, or raises `DSPex.Error`."
  @spec submit!(DSPex.t(), String.t() | atom(), map() | keyword(), keyword()) :: Job.t()
  def submit!(dspex, kind, request, options \\ []), do: Error.bang(submit(dspex, kind, request, options))

  @doc false
  # Those options that are fields of a kind's request, as they go out, and the others.
  @spec split(keyword(), [atom()]) :: {:ok, map(), keyword()} | {:error, Error.t()}
  def split(options, own) do
    if Keyword.keyword?(options) do
      {own, options} = Keyword.split(options, own)
      {:ok, for({key, value} <- own, value != nil, into: %{}, do: {to_string(key), text(value)}), options}
    else
      {:error, Error.invalid_argument("options", "a keyword list", options)}
    end
  end

  defp text(value) when is_atom(value) and not is_boolean(value), do: Atom.to_string(value)
  defp text([name | _] = names) when is_atom(name), do: Enum.map(names, &to_string/1)
  defp text(value), do: value

  defp deadline(nil), do: %{}
  defp deadline(milliseconds), do: %{"deadline_s" => milliseconds / 1000}

  defp budget(nil), do: {:ok, %{}}

  defp budget(limits) do
    limits = Map.new(limits, fn {name, limit} -> {to_string(name), limit} end)
    {:ok, %{"budget" => limits}}
  end

  @doc "A job as it is now."
  @spec get(DSPex.t(), job(), keyword()) :: DSPex.result(Job.t())
  def get(dspex, job, options \\ []), do: ask(dspex, "job.get", job, options, &Job.from_wire/1)

  @doc "The same, or raises `DSPex.Error`."
  @spec get!(DSPex.t(), job(), keyword()) :: Job.t()
  def get!(dspex, job, options \\ []), do: Error.bang(get(dspex, job, options))

  @doc "What was asked for, as it was submitted; maps have strings for keys."
  @spec request(DSPex.t(), job(), keyword()) :: DSPex.result(term())
  def request(dspex, job, options \\ []),
    do: ask(dspex, "job.get", job, options, & &1["request"], %{"request" => true})

  @doc """
  A page of jobs, the newest first.

  Options: `kind:`; `state:` one of a job's, or `:open` for queued and running ones; `limit:`; `after:` the
  `next` of the page before.
  """
  @spec list(DSPex.t(), keyword()) :: DSPex.result(Page.t(Job.t()))
  def list(dspex, options \\ []) do
    keys = [:after, :kind, :limit, :state]

    with {:ok, options} <- Options.call(options, keys) do
      dspex
      |> Stored.ask("job.list", Stored.payload(options, keys), %{}, options)
      |> Stored.read(&Page.from_wire(&1, "jobs", fn row -> Job.from_wire(row) end))
    end
  end

  @doc "The same, or raises `DSPex.Error`."
  @spec list!(DSPex.t(), keyword()) :: Page.t(Job.t())
  def list!(dspex, options \\ []), do: Error.bang(list(dspex, options))

  @doc "A lazy stream of all jobs, page by page, with the options of `list/2`; raises `DSPex.Error`."
  @spec stream(DSPex.t(), keyword()) :: Enumerable.t()
  def stream(dspex, options \\ []), do: Stored.stream(options, :after, &list(dspex, &1))

  @doc "A page of a job's events, in order. Options: `limit:`; `after:` the number of the last one that is known."
  @spec events(DSPex.t(), job(), keyword()) :: DSPex.result(Page.t(Event.t()))
  def events(dspex, job, options \\ []) do
    with {:ok, number, options} <- after_event(options), {:ok, checked} <- Options.call(options, [:limit]) do
      payload = Map.put(Stored.payload(checked, [:limit]), "after", number)
      read = &Page.from_wire(&1, "events", fn row -> Event.from_wire(row) end)
      ask(dspex, "job.events", job, Keyword.delete(options, :limit), read, payload)
    end
  end

  @doc "The same, or raises `DSPex.Error`."
  @spec events!(DSPex.t(), job(), keyword()) :: Page.t(Event.t())
  def events!(dspex, job, options \\ []), do: Error.bang(events(dspex, job, options))

  @doc """
  A lazy stream of what happens to a job, until it has ended; raises `DSPex.Error`.

  Its elements are `{:event, %DSPex.Jobs.Event{}}`, each once and in order; between them
  `{:progress, figures}`, the latest ones; and last `{:ended, %DSPex.Job{}}`.

  It goes on where it was when the connection breaks or the server is another one. Options: `after:` the
  number of the last event that is known, 0 by default; `timeout:` of all of it, by default none.
  """
  @spec follow(DSPex.t(), job(), keyword()) :: Enumerable.t()
  def follow(dspex, job, options \\ []) do
    Stream.resource(fn -> Error.bang(following(dspex, job, options, true)) end, &step/1, &leave/1)
  end

  defp step(:ended), do: {:halt, :ended}

  defp step(following) do
    case Following.next(following) do
      {:item, item, following} -> {[item], following}
      {:ended, job} -> {[{:ended, job}], :ended}
      {:error, error} -> raise error
    end
  end

  defp leave(:ended), do: :ok
  defp leave(following), do: Following.stop(following)

  @doc """
  Waits until a job has ended, in whichever way; the job as it is then.

  Goes on when the connection breaks or the server is another one. Options: `timeout:` milliseconds, by
  default none; then it is a `:deadline`, and the job goes on.
  """
  @spec await(DSPex.t(), job(), keyword()) :: DSPex.result(Job.t())
  def await(dspex, job, options \\ []) do
    with {:ok, following} <- following(dspex, job, options, false), do: wait(following)
  end

  @doc "The same, or raises `DSPex.Error`."
  @spec await!(DSPex.t(), job(), keyword()) :: Job.t()
  def await!(dspex, job, options \\ []), do: Error.bang(await(dspex, job, options))

  defp wait(following) do
    case Following.next(following) do
      {:ended, job} -> {:ok, job}
      {:error, error} -> {:error, error}
    end
  end

  defp following(dspex, job, options, items?) do
    with {:ok, id} <- Job.id_of(job),
         {:ok, number, options} <- after_event(options),
         {:ok, checked} <- Options.call(options, []) do
      {:ok,
       %Following{
         dspex: dspex,
         job: id,
         options: Map.delete(checked, :timeout),
         after: number,
         until: checked[:timeout] && DSPex.Clock.now_ms() + checked.timeout,
         patience: @patience,
         items?: items?
       }}
    end
  end

  defp after_event(options) do
    if Keyword.keyword?(options) do
      case Keyword.pop(options, :after, 0) do
        {number, options} when is_integer(number) and number >= 0 ->
          {:ok, number, options}

        {other, _options} ->
          {:error, Error.invalid_argument("after", "the number of an event, or 0", other)}
      end
    else
      {:error, Error.invalid_argument("options", "a keyword list", options)}
    end
  end

  @doc """
  Ends a job; the job as it is then. What it has found so far stays.

  Where another server runs it, that may take five seconds: `cancelling?` is true until then.
  """
  @spec cancel(DSPex.t(), job(), keyword()) :: DSPex.result(Job.t())
  def cancel(dspex, job, options \\ []), do: ask(dspex, "job.cancel", job, options, &Job.from_wire/1)

  @doc "The same, or raises `DSPex.Error`."
  @spec cancel!(DSPex.t(), job(), keyword()) :: Job.t()
  def cancel!(dspex, job, options \\ []), do: Error.bang(cancel(dspex, job, options))

  @doc """
  Has a job that failed or was cancelled go on from what it has paid for; the job as it is then.

      {:error, %DSPex.Error{type: :budget_spent}} = DSPex.Jobs.result(MyApp.DSPex, job)
      {:ok, job} = DSPex.Jobs.resume(MyApp.DSPex, job, budget: [usd: 10.0])

  Its answers are in its journal still, so it comes to where it was without asking for them again. What
  had failed is asked for again. One that is open already stays as it is, so this may be called twice.

  * `budget:` the limits from now on, as of `submit/4`; what was spent before counts. By default as before
  * `deadline:` milliseconds from now after which it fails; by default as long as it had at its submission

  A job that is done is an `:invalid_argument`.
  """
  @spec resume(DSPex.t(), job(), keyword()) :: DSPex.result(Job.t())
  def resume(dspex, job, options \\ []) do
    with {:ok, id} <- Job.id_of(job),
         {:ok, options} <- Options.call(options, [:budget, :deadline]),
         {:ok, budget} <- budget(options[:budget]) do
      payload = %{"job" => id} |> Map.merge(budget) |> Map.merge(deadline(options[:deadline]))
      dspex |> Stored.ask("job.resume", payload, %{}, options) |> Stored.read(&Job.from_wire/1)
    end
  end

  @doc "The same, or raises `DSPex.Error`."
  @spec resume!(DSPex.t(), job(), keyword()) :: Job.t()
  def resume!(dspex, job, options \\ []), do: Error.bang(resume(dspex, job, options))

  @doc "The best result of a job so far, also of one that was cancelled or has failed; nil where there is none."
  @spec best(DSPex.t(), job(), keyword()) :: DSPex.result(best() | nil)
  def best(dspex, job, options \\ []) do
    with {:ok, id} <- Job.id_of(job),
         {:ok, options} <- Options.call(options, []),
         {:ok, answer} <- Stored.ask(dspex, "job.best", %{"job" => id}, %{}, options) do
      {:ok, answer && %{score: answer["score"], content: answer["content"]}}
    end
  end

  @doc "The same, or raises `DSPex.Error`."
  @spec best!(DSPex.t(), job(), keyword()) :: best() | nil
  def best!(dspex, job, options \\ []), do: Error.bang(best(dspex, job, options))

  @doc """
  What a job that is done came to.

  Of one that failed it is the job's own error, such as `:budget_spent`, whose `details["best"]` has the
  best result so far; of one that was cancelled `:cancelled`; of one that has not ended `:job_not_done`.
  """
  @spec result(DSPex.t(), job(), keyword()) :: DSPex.result(result())
  def result(dspex, job, options \\ []), do: ask(dspex, "job.result", job, options, &read_result/1)

  @doc "The same, or raises `DSPex.Error`."
  @spec result!(DSPex.t(), job(), keyword()) :: result()
  def result!(dspex, job, options \\ []), do: Error.bang(result(dspex, job, options))

  defp read_result(answer) do
    saved = answer["saved"] && Program.from_wire(answer["saved"])
    %{result: answer["result"], saved: saved, replay: answer["replay"] || %{}}
  end

  @doc "Forgets a job that has ended, with all that came of it but the programs; its key is free then."
  @spec delete(DSPex.t(), job(), keyword()) :: :ok | {:error, Error.t()}
  def delete(dspex, job, options \\ []) do
    with {:ok, id} <- Job.id_of(job), {:ok, options} <- Options.call(options, []) do
      dspex |> Stored.ask("job.delete", %{"job" => id}, %{}, options) |> Stored.done()
    end
  end

  @doc "The same, or raises `DSPex.Error`."
  @spec delete!(DSPex.t(), job(), keyword()) :: :ok
  def delete!(dspex, job, options \\ []) do
    with {:error, error} <- delete(dspex, job, options), do: raise(error)
  end

  defp ask(dspex, method, job, options, read, more \\ %{}) do
    with {:ok, id} <- Job.id_of(job), {:ok, options} <- Options.call(options, []) do
      dspex |> Stored.ask(method, Map.put(more, "job", id), %{}, options) |> Stored.read(read)
    end
  end

  @doc false
  # The options that are about jobs: what each must be, and in words.
  @spec rule(atom(), term()) :: {boolean(), String.t()}
  def rule(:key, value), do: {Name.id?(value), Name.id()}
  def rule(:kind, value), do: {Name.id?(value), "the name of a kind of jobs"}

  def rule(:deadline, value), do: {is_integer(value) and value > 0, "milliseconds from 1"}
  def rule(:budget, value), do: {budget?(value), "limits by name, of :lm_calls, :tokens, :usd"}

  defp budget?(limits) do
    (Keyword.keyword?(limits) or (is_map(limits) and not is_struct(limits))) and
      Enum.all?(limits, fn {name, limit} ->
        to_string(name) in ~w(lm_calls tokens usd) and is_number(limit) and limit >= 0
      end)
  end
end
