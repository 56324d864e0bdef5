defmodule DSPex do
  @moduledoc """
  DSPy for Elixir: signatures, programs, streams and callbacks over a Port.

  An instance goes into your supervision tree. It starts `dspex serve`, which runs DSPy in
  a pool of workers, and starts it again should it die.

      children = [
        {DSPex,
         name: MyApp.DSPex,
         lms: %{"default" => %{model: "openai/gpt-4o-mini", api_key_env: "OPENAI_API_KEY"}},
         functions: %{"lookup" => &MyApp.Search.lookup/1}}
      ]

      {:ok, prediction} = DSPex.predict(MyApp.DSPex, {"Predict", "question -> answer"}, %{question: "Why?"})
      prediction.answer

  Several instances may live side by side; nothing is configured globally.

  `batch/4` runs a program on many inputs at once; see `DSPex.Batch`.

  `DSPex.Metric` says how good predictions are, and `DSPex.Evaluation` how good a program is on
  many rows.

  `DSPex.Programs` keeps programs in the server's store, with versions and tags, and
  `DSPex.Sessions` conversations with them. `DSPex.Datasets` keeps rows to train and to
  measure programs with.

  ## Options of an instance

  * `:name` (required): an atom; what every function here takes first
  * `:command`: program and arguments, `["dspex", "serve"]`; `:args` are appended
  * `:address` instead: `"unix:/run/dspex.sock"` of a server that runs already and may serve
    others too; see `DSPex.Pool`
  * `:env`: environment of the server, `nil` unsets a name; `:cd`: its directory
  * `:lms`: name to language model: a string as in DSPy, or a map of `model` (`"host/NAME"`
    is the function NAME below), `api_base`, `api_key_env`, `api_key_secret`, `temperature`,
    `max_tokens`, `num_retries`, `timeout_s`, `engine`, `options`, `model_type`, and prices of
    a million tokens (`DSPex.LM`); the name `"default"` is used where none is named
  * `:functions`: name to a function of one argument (a map) or two (and a
    `DSPex.Callback`), or `{module, name}`. What it returns is its answer; `{:ok, value}`
    and `{:error, reason}` are understood, and for language models `{:stream, pieces}`
    (`DSPex.LM`). It runs in a task of its own
  * `:secrets`: name to string, or a function that returns that; LMs refer to them by
    `api_key_secret`. They are kept out of every report
  * `:notes`: `:log` (the server's log lines go to `Logger`), `:event` (to `DSPex.Telemetry`)
  * `:require`: capabilities that the server must have
  * `:tenant`: on whose behalf calls are made that name nobody; `:tenants`: name to weight,
    1 to 100, when several share the workers; see `DSPex.Pool`
  * `:timeout`: milliseconds for calls that name none, 120,000
  * `:max_frame_bytes` 16 MiB, `:handshake_timeout` 30,000, `:probe_after` 2,000 (quiet
    with calls open: ask whether the server lives), `:silence_timeout` 10,000 (no answer to
    that: start another), `:backoff` `{100, 10_000}`, all in milliseconds
  * `:transport`: a `DSPex.Transport`; `:transport_options` are its own. See `DSPex.Test`

  ## Options of a call

  * `:timeout`: milliseconds until the call fails with `:deadline`. It counts everything:
    waiting for the server to start, its queue, the models
  * `:lm`: name of a language model; `:config`: what it gets for this call, such as
    `[temperature: 0.7, max_tokens: 200, n: 3]`
  * `:adapter`: how prompts are written and answers read, such as `:json`; `:on_violation`:
    what an answer leads to that does not fit, such as `{:retry, 2}`. See `DSPex.Choices`
  * `:retriever`: a function of the instance that `dspy.Retrieve` asks in modules of plug-ins
  * `:trace`: `true` puts the steps that led to it into the prediction
  * `:history`: `true` has the call's requests to language models kept, and puts them into the
    prediction; `false` has them not kept. See `history/2`
  * `:lane`: `:interactive`, `:batch` or `:control`; `:priority`: 0 to 9, 9 goes first;
    `:tenant`: on whose behalf. See `DSPex.Pool`
  * `:parent`: the `DSPex.Callback` within which the call is made; see there

  ## Errors

  Every function has a form that returns `{:ok, _} | {:error, %DSPex.Error{}}` and one with
  `!` that raises. Each call has one outcome, also when the server dies in the middle:
  then `:connection_lost`, with `maybe_executed?`. `DSPex.Pool` says which failures are the
  pool's, such as `:overloaded`, and what to do about them.

  While the server is being started again, calls wait for it within their own time.
  """

  alias DSPex.{
    Batch,
    Call,
    Callback,
    Choices,
    Connection,
    Error,
    Instance,
    OpenCalls,
    Options,
    Prediction,
    Program,
    Programs,
    Session,
    Spec
  }

  @predicting [:adapter, :config, :history, :lm, :on_violation, :retriever, :trace]

  @typedoc "The name of an instance."
  @type t :: atom()

  @typedoc "A stored program (handle or id), a session (handle), or a spec for one call."
  @type program :: Program.t() | String.t() | Session.t() | Spec.source()

  @type inputs :: map() | keyword()
  @type options :: keyword()
  @type result(value) :: {:ok, value} | {:error, Error.t()}

  @doc "For a supervision tree: `{DSPex, options}`."
  @spec child_spec(options()) :: Supervisor.child_spec()
  def child_spec(options) do
    name = if Keyword.keyword?(options), do: options[:name]
    # Supervisors print their children's arguments.
    arguments = [Options.hide(options)]
    %{id: {__MODULE__, name}, start: {__MODULE__, :start_link, arguments}, type: :supervisor}
  end

  @doc """
  Starts an instance under the calling process.

  Returns at once; calls wait until the server is ready. Raises `ArgumentError` when an
  option is wrong.
  """
  @spec start_link(options()) :: Supervisor.on_start()
  def start_link(options) do
    case Options.instance(options) do
      {:ok, options} -> Instance.start_link(options)
      {:error, error} -> raise ArgumentError, error.message
    end
  end

  @doc """
  Ends an instance: says goodbye, waits until open calls have ended and the server has
  left (at most `timeout` milliseconds), then stops its processes.

  Several processes may ask, also for one that has stopped: each gets `:ok` at its end.
  Under a supervisor of yours that restarts it, stop it there instead.
  """
  @spec stop(t(), pos_integer()) :: :ok
  def stop(dspex, timeout \\ 10_000) do
    unless_gone(fn -> Connection.stop(dspex, timeout) end)
    unless_gone(fn -> Supervisor.stop(dspex) end)
  end

  defp unless_gone(stop) do
    stop.()
  catch
    :exit, {reason, _call} when reason in [:noproc, :normal, :shutdown] -> :ok
    :exit, {{reason, _terminate}, _call} when reason in [:noproc, :normal, :shutdown] -> :ok
    :exit, :noproc -> :ok
  end

  # -- predictions -----------------------------------------------------------------------

  @doc "Runs a program on inputs; returns the whole prediction."
  @spec predict(t(), program(), inputs(), options()) :: result(Prediction.t())
  def predict(dspex, program, inputs, options \\ []) do
    with {:ok, options} <- Options.call(options, @predicting),
         {:ok, payload, meta} <- prediction_request(program, inputs, options),
         {:ok, value, meta} <- run(dspex, "program.predict", payload, meta, options) do
      Prediction.from_wire(value, meta)
    end
  end

  @doc "The same, or raises `DSPex.Error`."
  @spec predict!(t(), program(), inputs(), options()) :: Prediction.t()
  def predict!(dspex, program, inputs, options \\ []),
    do: Error.bang(predict(dspex, program, inputs, options))

  @doc """
  Starts a prediction and returns without waiting for its outcome; see `await/1` and `cancel/1`.

  It does wait for a server that is not ready yet.
  """
  @spec async(t(), program(), inputs(), options()) :: result(Call.t())
  def async(dspex, program, inputs, options \\ []) do
    with {:ok, options} <- Options.call(options, @predicting),
         {:ok, payload, meta} <- prediction_request(program, inputs, options) do
      open(dspex, "program.predict", payload, meta, options)
    end
  end

  @doc "The same, or raises `DSPex.Error`."
  @spec async!(t(), program(), inputs(), options()) :: Call.t()
  def async!(dspex, program, inputs, options \\ []), do: Error.bang(async(dspex, program, inputs, options))

  @doc "The outcome of `async/4`, in the process that called it, once."
  @spec await(Call.t()) :: result(Prediction.t())
  def await(call) do
    with {:ok, value, meta} <- Call.await(call), do: Prediction.from_wire(value, meta)
  end

  @doc "The same, or raises `DSPex.Error`."
  @spec await!(Call.t()) :: Prediction.t()
  def await!(call), do: Error.bang(await(call))

  @doc """
  Runs a part of the program in whose `forward` the calling function is; returns the prediction.

  A module of your own is the spec `{:host, signature, forward: "name", parts: %{…}}`: its
  `forward` is one of the instance's functions, which is called with the inputs, may call the
  parts by name, and gives a map of the outputs:

      def forward(%{"question" => question}) do
        draft = DSPex.predict_part!(MyApp.DSPex, :draft, question: question)
        check = DSPex.predict_part!(MyApp.DSPex, :check, answer: draft.answer)
        %{answer: draft.answer, note: check.note}
      end

  The parts' predictors are the program's, by their names (`draft`, `check.predict`), with demos
  and instructions. From a process that the function starts, pass `parent:`; see `DSPex.Callback`.
  """
  @spec predict_part(t(), atom() | String.t(), inputs(), options()) :: result(Prediction.t())
  def predict_part(dspex, part, inputs, options \\ []) do
    with {:ok, options} <- Options.call(options, []),
         {:ok, inputs} <- inputs(inputs),
         payload = %{"part" => to_string(part), "inputs" => inputs},
         {:ok, value, meta} <- run(dspex, "part.predict", payload, %{}, options) do
      Prediction.from_wire(value, meta)
    end
  end

  @doc "The same, or raises `DSPex.Error`."
  @spec predict_part!(t(), atom() | String.t(), inputs(), options()) :: Prediction.t()
  def predict_part!(dspex, part, inputs, options \\ []),
    do: Error.bang(predict_part(dspex, part, inputs, options))

  @doc """
  Asks the server to stop a call; any process may. Returns at once.

  The call still has its one outcome: `:cancelled`, or its result if that was faster.
  """
  @spec cancel(Call.t()) :: :ok
  def cancel(call), do: Call.cancel(call)

  @doc """
  A lazy stream of a prediction: `DSPex.Token` and `DSPex.Status` as they come, and the
  whole `DSPex.Prediction` as last element.

      MyApp.DSPex
      |> DSPex.stream(program, %{question: "Why?"})
      |> Enum.each(fn
        %DSPex.Token{text: text} -> IO.write(text)
        %DSPex.Status{} -> :ok
        %DSPex.Prediction{} = prediction -> IO.inspect(prediction.usage)
      end)

  `events:` says which kinds of elements come before the prediction:

  * `:token`: `DSPex.Token`, text of a field; one of the two that come unless told otherwise
  * `:status`: `DSPex.Status`, the start and end of modules, models and tools; the other
  * `:value`: `DSPex.PartialValue`, of fields that are no text what there is of them
  * `:tool`: `DSPex.ToolEvent`, the tools that are called, and how that ended
  * `:tool_arguments`: the same, with the arguments that the model gave

  Nothing happens before the first demand. Halting (`Enum.take/2`) cancels the call. A slow
  consumer slows the stream down and costs no memory: at most `credit:` (64) elements are
  under way. A failure raises `DSPex.Error`, also for wrong options.
  """
  @spec stream(t(), program(), inputs(), options()) :: Enumerable.t()
  def stream(dspex, program, inputs, options \\ []),
    do: DSPex.Streaming.stream(dspex, program, inputs, options)

  @doc false
  # The options of a call that say how a prediction is made.
  @spec predicting() :: [atom()]
  def predicting, do: @predicting

  # -- batches ---------------------------------------------------------------------------

  @doc """
  Runs a program on many inputs, spread over the workers; returns all results in the order of the rows.

      rows = [%{question: "Why?"}, %{question: "How?"}]
      {:ok, batch} = DSPex.batch(MyApp.DSPex, program, rows, parallelism: 8, timeout: 600_000)
      for {:ok, prediction} <- batch.results, do: prediction.answer

  A row that fails is an `{:error, error}` among the results, and no failure of the whole.
  Where the whole fails (its time is over, the server died), the results so far are in the
  error, as a map by index: `error.details["results"]`. `DSPex.Batch` has the options.
  """
  @spec batch(t(), program(), Enumerable.t(), options()) :: result(Batch.t())
  def batch(dspex, program, rows, options \\ []), do: Batch.run(dspex, program, rows, options)

  @doc "The same, or raises `DSPex.Error`; also then a row that fails is one of the results."
  @spec batch!(t(), program(), Enumerable.t(), options()) :: Batch.t()
  def batch!(dspex, program, rows, options \\ []), do: Error.bang(batch(dspex, program, rows, options))

  @doc """
  A lazy stream of a batch: `{index, {:ok, prediction}}` or `{index, {:error, error}}` of each row
  as it ends, and a `DSPex.Batch` with the figures as last element.

      MyApp.DSPex
      |> DSPex.batch_stream(program, rows)
      |> Enum.each(fn
        {index, {:ok, prediction}} -> save(index, prediction)
        {index, {:error, error}} -> Logger.warning("row \#{index}: \#{error.message}")
        %DSPex.Batch{} = batch -> IO.inspect(batch.usage)
      end)

  Nothing happens before the first demand. Halting cancels the batch. A slow consumer slows it
  down: at most `credit:` (64) results are under way, and no rows are run for those behind them.
  A failure of the whole raises `DSPex.Error`, after the results so far.
  """
  @spec batch_stream(t(), program(), Enumerable.t(), options()) :: Enumerable.t()
  def batch_stream(dspex, program, rows, options \\ []),
    do: Batch.stream(dspex, program, rows, options)

  @doc false
  @spec prediction_request(program(), inputs(), map()) :: {:ok, map(), map()} | {:error, Error.t()}
  def prediction_request(program, inputs, options) do
    with {:ok, inputs} <- inputs(inputs), {:ok, payload, meta} <- target(program) do
      events = if options[:events], do: %{"events" => Enum.map(options.events, &to_string/1)}, else: %{}
      extra = Choices.to_wire(options)
      extra = if options[:trace], do: Map.put(extra, "trace", true), else: extra
      extra = if is_map_key(options, :history), do: Map.put(extra, "history", options.history), else: extra
      config = if options[:config], do: %{"config" => Map.new(options.config)}, else: %{}
      payload = payload |> Map.merge(extra) |> Map.merge(config) |> Map.merge(events)
      {:ok, Map.put(payload, "inputs", inputs), meta}
    end
  end

  defp inputs(inputs) when is_map(inputs) and not is_struct(inputs), do: {:ok, inputs}

  defp inputs(inputs) do
    if Keyword.keyword?(inputs),
      do: {:ok, Map.new(inputs)},
      else: {:error, Error.invalid_argument("inputs", "a map or keyword list of field and value", inputs)}
  end

  defp target(%Session{} = session), do: with({:ok, meta} <- Session.to_meta(session), do: {:ok, %{}, meta})

  defp target(program) when is_binary(program) or is_struct(program, Program),
    do: with({:ok, program} <- Program.from(program), do: {:ok, %{}, Program.to_meta(program)})

  defp target(spec),
    do: with({:ok, spec} <- Spec.from_program(spec), do: {:ok, %{"spec" => Spec.to_wire(spec)}, %{}})

  # -- stored programs -------------------------------------------------------------------

  @doc """
  Stores a program; returns its handle. `program: "qa"` wishes for an id, else one is made.

  `DSPex.Programs` has the rest of what is done with stored programs; this is its `create/3`.
  """
  @spec create(t(), Spec.source(), options()) :: result(Program.t())
  defdelegate create(dspex, spec, options \\ []), to: Programs

  @doc "The same, or raises `DSPex.Error`."
  @spec create!(t(), Spec.source(), options()) :: Program.t()
  defdelegate create!(dspex, spec, options \\ []), to: Programs

  @doc "What is stored of a program: `DSPex.Programs.get/3`."
  @spec get(t(), Programs.program(), options()) :: result(Programs.Record.t())
  defdelegate get(dspex, program, options \\ []), to: Programs

  @doc "The same, or raises `DSPex.Error`."
  @spec get!(t(), Programs.program(), options()) :: Programs.Record.t()
  defdelegate get!(dspex, program, options \\ []), to: Programs

  @doc """
  Handles of all stored programs, with their newest versions.

  Takes the options of `DSPex.Programs.list/2`, which gives a page of them with more about each.
  """
  @spec list(t(), options()) :: result([Program.t()])
  def list(dspex, options \\ []) do
    {:ok, list!(dspex, options)}
  rescue
    error in Error -> {:error, error}
  end

  @doc "The same, or raises `DSPex.Error`."
  @spec list!(t(), options()) :: [Program.t()]
  def list!(dspex, options \\ []), do: dspex |> Programs.stream(options) |> Enum.map(& &1.program)

  @doc "Deletes a stored program with all its versions: `DSPex.Programs.delete/3`."
  @spec delete(t(), Programs.program(), options()) :: :ok | {:error, Error.t()}
  defdelegate delete(dspex, program, options \\ []), to: Programs

  @doc "The same, or raises `DSPex.Error`."
  @spec delete!(t(), Programs.program(), options()) :: :ok
  defdelegate delete!(dspex, program, options \\ []), to: Programs

  @doc """
  What a program is made of: a `DSPex.Graph`, or with `format: :mermaid` or `:svg` a text that draws it.

  `program` is a stored one (handle or id) or a spec. It need not be able to run: functions that
  nobody offers do not matter.
  """
  @spec graph(t(), Program.t() | String.t() | Spec.source(), options()) ::
          result(DSPex.Graph.t() | String.t())
  def graph(dspex, program, options \\ []), do: DSPex.Graph.ask(dspex, program, options)

  @doc "The same, or raises `DSPex.Error`."
  @spec graph!(t(), Program.t() | String.t() | Spec.source(), options()) :: DSPex.Graph.t() | String.t()
  def graph!(dspex, program, options \\ []), do: Error.bang(graph(dspex, program, options))

  @doc """
  What the server keeps of the last calls: what language models were sent, and what they wrote.

      {:ok, history} = DSPex.history(MyApp.DSPex, program: "qa", limit: 5)
      for call <- history.calls, request <- call["requests"], do: {request["model"], request["ms"]}

  `DSPex.CallHistory` says what is kept, when, and how it is asked for. A server keeps nothing
  unless it was started with `--history`, or a call says `history: true`.
  """
  @spec history(t(), options()) :: result(DSPex.CallHistory.t())
  def history(dspex, options \\ []), do: DSPex.CallHistory.ask(dspex, options)

  @doc "The same, or raises `DSPex.Error`."
  @spec history!(t(), options()) :: DSPex.CallHistory.t()
  def history!(dspex, options \\ []), do: Error.bang(history(dspex, options))

  # -- the server ------------------------------------------------------------------------

  @doc "Sends a value to the supervisor and back."
  @spec ping(t(), term(), options()) :: result(term())
  def ping(dspex, value \\ nil, options \\ []), do: call(dspex, "system.ping", value, options)

  @doc "The same, or raises `DSPex.Error`."
  @spec ping!(t(), term(), options()) :: term()
  def ping!(dspex, value \\ nil, options \\ []), do: Error.bang(ping(dspex, value, options))

  @doc "Sends a value to a worker and back."
  @spec echo(t(), term(), options()) :: result(term())
  def echo(dspex, value, options \\ []), do: call(dspex, "system.echo", value, options)

  @doc "The same, or raises `DSPex.Error`."
  @spec echo!(t(), term(), options()) :: term()
  def echo!(dspex, value, options \\ []), do: Error.bang(echo(dspex, value, options))

  @doc "All methods, modules, types and errors of the server, as data."
  @spec describe(t(), options()) :: result(map())
  def describe(dspex, options \\ []), do: simple(dspex, "system.describe", %{}, options)

  @doc "The same, or raises `DSPex.Error`."
  @spec describe!(t(), options()) :: map()
  def describe!(dspex, options \\ []), do: Error.bang(describe(dspex, options))

  @doc """
  A snapshot of the server: workers, lanes, tenants, clients, latencies, counters.

      {:ok, %{"workers" => workers}} = DSPex.info(MyApp.DSPex)
      for worker <- workers, do: {worker["worker"], worker["state"], worker["calls"]}

  `t:DSPex.Pool.info/0` lists the keys.
  """
  @spec info(t(), options()) :: result(DSPex.Pool.info())
  def info(dspex, options \\ []), do: simple(dspex, "system.info", %{}, options)

  @doc "The same, or raises `DSPex.Error`."
  @spec info!(t(), options()) :: DSPex.Pool.info()
  def info!(dspex, options \\ []), do: Error.bang(info(dspex, options))

  # -- the pool --------------------------------------------------------------------------

  @doc """
  Replaces a worker, by its number in `info/2`, or `:all`; returns the numbers of those that will be.

  Returns at once. Successors come first, then the old ones end the calls that they have:
  no call is lost. A number that no worker has is an `:invalid_argument`.
  """
  @spec recycle(t(), pos_integer() | :all, options()) :: result([pos_integer()])
  def recycle(dspex, worker, options \\ []) do
    with {:ok, number} <- worker_number(worker),
         {:ok, %{"workers" => numbers}} <- call(dspex, "pool.recycle", %{"worker" => number}, options),
         do: {:ok, numbers}
  end

  @doc "The same, or raises `DSPex.Error`."
  @spec recycle!(t(), pos_integer() | :all, options()) :: [pos_integer()]
  def recycle!(dspex, worker, options \\ []), do: Error.bang(recycle(dspex, worker, options))

  defp worker_number(:all), do: {:ok, nil}
  defp worker_number(number) when is_integer(number) and number > 0, do: {:ok, number}

  defp worker_number(other),
    do: {:error, Error.invalid_argument("worker", "the number of a worker, or :all", other)}

  @doc """
  Ends the server for everybody who uses it: it takes no more calls, open ones of all
  clients end, then it leaves. Returns when they have ended.

  This instance goes on: with a `:command` it starts another server, with an `:address` it
  connects again once one listens there. So a server is replaced without losing a call;
  `stop/2` is for an end.
  """
  @spec drain(t(), options()) :: :ok | {:error, Error.t()}
  def drain(dspex, options \\ []) do
    with {:ok, options} <- Options.call(options, []),
         {:ok, call} <- open(dspex, "pool.drain", %{}, %{}, options),
         {:ok, _nil, _meta} <- Call.await(call),
         do: Call.leave(call)
  end

  @doc "The same, or raises `DSPex.Error`."
  @spec drain!(t(), options()) :: :ok
  def drain!(dspex, options \\ []) do
    with {:error, error} <- drain(dspex, options), do: raise(error)
  end

  @doc "The calls that are refused as `:poisoned`, since workers died while they ran them."
  @spec quarantine(t(), options()) :: result([DSPex.Pool.repro()])
  def quarantine(dspex, options \\ []), do: simple(dspex, "pool.quarantine", %{}, options)

  @doc "The same, or raises `DSPex.Error`."
  @spec quarantine!(t(), options()) :: [DSPex.Pool.repro()]
  def quarantine!(dspex, options \\ []), do: Error.bang(quarantine(dspex, options))

  @doc ~s(Lets calls run again, by the `"fingerprint"` in `quarantine/2`, or `:all`; returns how many there were.)
  @spec release(t(), String.t() | :all, options()) :: result(non_neg_integer())
  def release(dspex, fingerprint, options \\ []) do
    with {:ok, fingerprint} <- fingerprint(fingerprint),
         payload = %{"fingerprint" => fingerprint},
         {:ok, %{"released" => count}} <- call(dspex, "pool.release", payload, options),
         do: {:ok, count}
  end

  @doc "The same, or raises `DSPex.Error`."
  @spec release!(t(), String.t() | :all, options()) :: non_neg_integer()
  def release!(dspex, fingerprint, options \\ []), do: Error.bang(release(dspex, fingerprint, options))

  defp fingerprint(:all), do: {:ok, nil}
  defp fingerprint(text) when is_binary(text), do: {:ok, text}

  defp fingerprint(other),
    do: {:error, Error.invalid_argument("fingerprint", "one from DSPex.quarantine/2, or :all", other)}

  # -- models, signatures, anything ------------------------------------------------------

  @doc "The language models that the server knows: maps with string keys, as `DSPex.LM.list/2` says."
  @spec lms(t(), options()) :: result([map()])
  def lms(dspex, options \\ []), do: simple(dspex, "lm.list", %{}, options)

  @doc "The same, or raises `DSPex.Error`."
  @spec lms!(t(), options()) :: [map()]
  def lms!(dspex, options \\ []), do: Error.bang(lms(dspex, options))

  @doc """
  Whether the server runs code that a model writes (`:program_of_thought`, `:code_act`, `:rlm`).

  The map has `"can_run"` and `"sandbox"` (`"bubblewrap"`, `"deno"` or nil), and where it does not run
  any, `"lacking"` and `"advice"`.
  """
  @spec check_code(t(), options()) :: result(map())
  def check_code(dspex, options \\ []), do: simple(dspex, "code.check", %{}, options)

  @doc "The same, or raises `DSPex.Error`."
  @spec check_code!(t(), options()) :: map()
  def check_code!(dspex, options \\ []), do: Error.bang(check_code(dspex, options))

  @doc """
  Checks a signature; returns it in full, with its JSON schema.

  With one of these options it has `"prompts"` too, as `prompts/3` returns them: `adapter:`, `lm:`,
  `inputs:`, and `state:`, as in `create/3`, with instructions and demos to try.
  """
  @spec describe_signature(t(), DSPex.Signature.source(), options()) :: result(map())
  def describe_signature(dspex, signature, options \\ []) do
    with {:ok, signature} <- DSPex.Signature.new(signature),
         do: describe_prompts(dspex, %{"signature" => DSPex.Signature.to_wire(signature)}, %{}, options)
  end

  @doc "The same, or raises `DSPex.Error`."
  @spec describe_signature!(t(), DSPex.Signature.source(), options()) :: map()
  def describe_signature!(dspex, signature, options \\ []),
    do: Error.bang(describe_signature(dspex, signature, options))

  @doc """
  What a program would ask of its language model: a list of maps with `"predictor"` and
  `"messages"`, and where there are any `"tools"`, `"tool_choice"`, `"parallel_tool_calls"`,
  `"response_format"`, and `"config"` with the rest of the request. Nobody is asked.

  The program is a spec, or a stored one. Options: `adapter:`, else that of the program; `lm:`,
  the model it is for, else the default one: what it can do decides whether tools are offered by
  name or told in words; `inputs:`, of which any may be missing, their names stand in braces then;
  `state:`, as in `create/3`, with what it is to have learned.

      {:ok, [prompt]} = DSPex.prompts(MyApp.DSPex, {"Predict", "question -> answer"}, adapter: :json)
      for message <- prompt["messages"], do: IO.puts(message["content"])
  """
  @spec prompts(t(), Program.t() | String.t() | Spec.source(), options()) :: result([map()])
  def prompts(dspex, program, options \\ []) do
    with {:ok, payload, meta} <- target(program),
         {:ok, described} <- describe_prompts(dspex, payload, meta, options),
         do: {:ok, described["prompts"]}
  end

  @doc "The same, or raises `DSPex.Error`."
  @spec prompts!(t(), Program.t() | String.t() | Spec.source(), options()) :: [map()]
  def prompts!(dspex, program, options \\ []), do: Error.bang(prompts(dspex, program, options))

  defp describe_prompts(dspex, payload, meta, options) do
    with {:ok, options} <- Options.call(options, [:adapter, :lm, :inputs, :state]),
         {:ok, inputs} <- inputs(options[:inputs] || %{}),
         {:ok, state} <- learned(options),
         payload = payload |> Map.merge(Choices.to_wire(options)) |> Map.merge(state),
         payload = if(inputs == %{}, do: payload, else: Map.put(payload, "inputs", inputs)),
         {:ok, described, _meta} <- run(dspex, "signature.describe", payload, meta, options),
         do: {:ok, described}
  end

  defp learned(%{state: state}),
    do: with({:ok, state} <- Programs.State.to_wire(state), do: {:ok, %{"state" => state}})

  defp learned(_options), do: {:ok, %{}}

  @doc "Calls any method of the server; docs/protocol.md section 7 lists them."
  @spec call(t(), String.t(), term(), options()) :: result(term())
  def call(dspex, method, payload, options \\ []) do
    with {:ok, options} <- Options.call(options, [:program]),
         {:ok, value, _meta} <- run(dspex, method, payload, program_option(options), options),
         do: {:ok, value}
  end

  @doc "The same, or raises `DSPex.Error`."
  @spec call!(t(), String.t(), term(), options()) :: term()
  def call!(dspex, method, payload, options \\ []), do: Error.bang(call(dspex, method, payload, options))

  defp program_option(%{program: id}), do: %{"program" => to_string(id)}
  defp program_option(_options), do: %{}

  defp simple(dspex, method, meta, options) do
    with {:ok, options} <- Options.call(options, []),
         {:ok, value, _meta} <- run(dspex, method, %{}, meta, options),
         do: {:ok, value}
  end

  # -- running ---------------------------------------------------------------------------

  @doc false
  @spec run(t(), String.t(), term(), map(), map()) :: Call.outcome()
  def run(dspex, method, payload, meta, options) do
    with {:ok, call} <- open(dspex, method, payload, meta, options), do: Call.await(call)
  end

  @doc false
  @spec open(t(), String.t(), term(), map(), map()) :: result(Call.t())
  def open(dspex, method, payload, meta, options) do
    parent = options[:parent] || Callback.current(dspex)
    meta = options |> Map.take([:lane, :priority, :tenant]) |> Map.new(&meta_entry/1) |> Map.merge(meta)
    meta = if parent, do: Map.put(meta, "parent", parent.id), else: meta
    Call.open(dspex, method, payload, meta, timeout(dspex, options, parent))
  end

  defp meta_entry({:priority, number}), do: {"priority", number}
  defp meta_entry({key, value}), do: {Atom.to_string(key), to_string(value)}

  defp timeout(_dspex, %{timeout: timeout}, _parent), do: timeout
  defp timeout(_dspex, _options, %Callback{} = parent), do: max(Callback.remaining_ms(parent), 1)
  defp timeout(dspex, _options, nil), do: OpenCalls.timeout(dspex)
end
