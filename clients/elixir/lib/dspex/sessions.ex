defmodule DSPex.Sessions do
  @moduledoc """
  Conversations that outlive every process: each turn is stored before its answer comes.

      {:ok, session} = DSPex.Sessions.open(MyApp.DSPex, "assistant", session: "visitor-42")
      {:ok, prediction} = DSPex.predict(MyApp.DSPex, session, %{question: "Who wrote Emma?"})
      {:ok, prediction} = DSPex.predict(MyApp.DSPex, session, %{question: "And when?"})
      prediction.meta["turn"]
      #=> 2

  A session belongs to one version of a stored program, for its whole life. It is known by
  its id: store that, or the `DSPex.Session`, and go on with it from another process,
  another node, or after a restart of anything.

  ## Turns

  A turn is a prediction in a session. Whatever predicts takes a session in the place of a
  program: `DSPex.predict/4`, `DSPex.async/4`, `DSPex.stream/4`, `DSPex.Streaming.start/4`;
  `predict/4` and `stream/4` here do the same and take its id too. `prediction.meta` has the
  `"session"` and the `"turn"`, counted from 1.

  Turns of one session run one after another, also when several processes make them. A turn
  that fails leaves the session as it was.

  Where a turn's answer was lost (`:connection_lost`, `:deadline`), it may have been stored:
  `get/3` says how many turns there are, and what the last one answered. A session that was
  opened and whose answer was lost is forgotten after its `ttl:`, as nobody knows of it.

  ## History

  Where the program's signature has an input of the type `history`, the server fills it in
  with all turns so far; a call leaves it out:

      {:ok, _program} =
        DSPex.create(MyApp.DSPex, {"Predict", "history: history, question -> answer"}, program: "assistant")

  ## Errors

  `:unknown_session` (it was closed, has not had a turn for its `ttl:`, or never was),
  `:session_exists`, and `:session_busy`: another server that shares the store has it; come
  back after `retry_after_ms`.

  All functions take the options of a call, such as `timeout:`.
  """

  alias DSPex.{Error, Options, Page, Prediction, Program, Session, Stored}
  alias DSPex.Sessions.{Record, Summary}

  @typedoc "A session: its handle or its id."
  @type session :: Session.t() | String.t()

  @doc """
  Opens a session with a stored program.

  Options: `session:` the id wanted, else one is made; `ttl:` milliseconds without a turn
  after which it is forgotten, from 1,000 to 31,536,000,000 (a year), a day unless told otherwise.

  The program's version is looked up now, by version, by tag or as the newest, and stays.
  """
  @spec open(DSPex.t(), Program.t() | String.t(), keyword()) :: DSPex.result(Session.t())
  def open(dspex, program, options \\ []) do
    with {:ok, program} <- Program.from(program), {:ok, options} <- Options.call(options, [:session, :ttl]) do
      meta = program |> Program.to_meta() |> Map.merge(Stored.payload(options, [:session]))
      dspex |> Stored.ask("session.open", ttl(options), meta, options) |> Stored.read(&Session.from_wire/1)
    end
  end

  @doc "The same, or raises `DSPex.Error`."
  @spec open!(DSPex.t(), Program.t() | String.t(), keyword()) :: Session.t()
  def open!(dspex, program, options \\ []), do: Error.bang(open(dspex, program, options))

  @doc "Makes a turn; `DSPex.predict/4` with a session does the same."
  @spec predict(DSPex.t(), session(), DSPex.inputs(), keyword()) :: DSPex.result(Prediction.t())
  def predict(dspex, session, inputs, options \\ []),
    do: DSPex.predict(dspex, handle(session), inputs, options)

  @doc "The same, or raises `DSPex.Error`."
  @spec predict!(DSPex.t(), session(), DSPex.inputs(), keyword()) :: Prediction.t()
  def predict!(dspex, session, inputs, options \\ []),
    do: Error.bang(predict(dspex, session, inputs, options))

  @doc """
  A lazy stream of a turn; `DSPex.stream/4` with a session does the same.

  A stream that is halted cancels the turn: unless that was done already, the session stays as it was.
  """
  @spec stream(DSPex.t(), session(), DSPex.inputs(), keyword()) :: Enumerable.t()
  def stream(dspex, session, inputs, options \\ []), do: DSPex.stream(dspex, handle(session), inputs, options)

  # Checked where the turn is made, as all else of it.
  defp handle(%Session{} = session), do: session
  defp handle(id), do: %Session{id: id}

  @doc "A session with its history, its state and the worker that has it in memory."
  @spec get(DSPex.t(), session(), keyword()) :: DSPex.result(Record.t())
  def get(dspex, session, options \\ []) do
    with {:ok, meta} <- Session.to_meta(session), {:ok, options} <- Options.call(options, []) do
      dspex |> Stored.ask("session.get", %{}, meta, options) |> Stored.read(&Record.from_wire/1)
    end
  end

  @doc "The same, or raises `DSPex.Error`."
  @spec get!(DSPex.t(), session(), keyword()) :: Record.t()
  def get!(dspex, session, options \\ []), do: Error.bang(get(dspex, session, options))

  @doc """
  A page of the open sessions, by id.

  Options: `prefix:` only ids that begin so; `limit:` sessions at most, 100 unless told
  otherwise, at most 1,000; `after:` the `next` of the page before.
  """
  @spec list(DSPex.t(), keyword()) :: DSPex.result(Page.t(Summary.t()))
  def list(dspex, options \\ []) do
    keys = [:after, :limit, :prefix]

    with {:ok, options} <- Options.call(options, keys) do
      dspex
      |> Stored.ask("session.list", Stored.payload(options, keys), %{}, options)
      |> Stored.read(&Page.from_wire(&1, "sessions", fn row -> Summary.from_wire(row) end))
    end
  end

  @doc "The same, or raises `DSPex.Error`."
  @spec list!(DSPex.t(), keyword()) :: Page.t(Summary.t())
  def list!(dspex, options \\ []), do: Error.bang(list(dspex, options))

  @doc """
  A lazy stream of all open sessions, page by page, with the options of `list/2`; raises `DSPex.Error`.

  `timeout:` is each page's.
  """
  @spec stream(DSPex.t(), keyword()) :: Enumerable.t()
  def stream(dspex, options \\ []), do: Stored.stream(options, :after, &list(dspex, &1))

  @doc """
  Opens a second session with the same past; from there on each goes its own way.

  Options: `session:` the id wanted, else one is made; `ttl:` milliseconds, that of the
  first unless told otherwise.
  """
  @spec fork(DSPex.t(), session(), keyword()) :: DSPex.result(Session.t())
  def fork(dspex, session, options \\ []) do
    with {:ok, meta} <- Session.to_meta(session), {:ok, options} <- Options.call(options, [:session, :ttl]) do
      payload = options |> Stored.payload([:session]) |> Map.merge(ttl(options))
      dspex |> Stored.ask("session.fork", payload, meta, options) |> Stored.read(&Session.from_wire/1)
    end
  end

  @doc "The same, or raises `DSPex.Error`."
  @spec fork!(DSPex.t(), session(), keyword()) :: Session.t()
  def fork!(dspex, session, options \\ []), do: Error.bang(fork(dspex, session, options))

  @doc "Ends a session: it is forgotten."
  @spec close(DSPex.t(), session(), keyword()) :: :ok | {:error, Error.t()}
  def close(dspex, session, options \\ []) do
    with {:ok, meta} <- Session.to_meta(session), {:ok, options} <- Options.call(options, []) do
      dspex |> Stored.ask("session.close", %{}, meta, options) |> Stored.done()
    end
  end

  @doc "The same, or raises `DSPex.Error`."
  @spec close!(DSPex.t(), session(), keyword()) :: :ok
  def close!(dspex, session, options \\ []) do
    with {:error, error} <- close(dspex, session, options), do: raise(error)
  end

  @doc """
  Has the next turns of a session run in a worker, by its number in `DSPex.info/2`, while that has room.

  Nothing is lost by it: a session is never in one worker only. It is for operators, who
  want a worker emptied or a session close to what it needs.
  """
  @spec migrate(DSPex.t(), session(), pos_integer(), keyword()) :: :ok | {:error, Error.t()}
  def migrate(dspex, session, worker, options \\ []) do
    with {:ok, meta} <- Session.to_meta(session),
         :ok <- worker(worker),
         {:ok, options} <- Options.call(options, []) do
      dspex |> Stored.ask("state.migrate", %{"worker" => worker}, meta, options) |> Stored.done()
    end
  end

  @doc "The same, or raises `DSPex.Error`."
  @spec migrate!(DSPex.t(), session(), pos_integer(), keyword()) :: :ok
  def migrate!(dspex, session, worker, options \\ []) do
    with {:error, error} <- migrate(dspex, session, worker, options), do: raise(error)
  end

  defp worker(number) when is_integer(number) and number > 0, do: :ok
  defp worker(other), do: {:error, Error.invalid_argument("worker", "the number of a worker", other)}

  defp ttl(%{ttl: milliseconds}), do: %{"ttl_s" => milliseconds / 1_000}
  defp ttl(_options), do: %{}
end
