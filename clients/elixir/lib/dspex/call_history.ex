defmodule DSPex.CallHistory do
  @moduledoc """
  What a server keeps of the last calls: their requests to language models.

      {:ok, history} = DSPex.history(MyApp.DSPex, session: "visitor-42")

      for call <- history.calls, request <- call["requests"] do
        {call["at"], request["predictor"], request["model"], request["tokens_in"], request["finish_reason"]}
      end

  What is kept of a call that says nothing of it is a setting of the server, here given as
  `args: ["--history", "redacted"]`:

  * `off`, the default: nothing
  * `redacted`: each request without a word of what was said: who asked which model, roles and
    lengths of messages, names of fields, tokens, milliseconds, why it ended, errors
  * `texts`: the texts as well

  A call with `history: true` is kept in any case, and its prediction has them as `requests`; one
  with `history: false` is not. Texts are there only where the server was started with `texts`.

  The last 1,000 calls are kept in the server's memory, all workers' together, and end with it.
  Whoever is a client of the server may look at all of them.

  ## Options of `DSPex.history/2`

  * `:program`: a `DSPex.Program` or an id; with a handle that has a version only calls on that
  * `:session`: a `DSPex.Session` or an id; `:worker`: the number of a worker
  * `:tenant`: only calls on behalf of that one
  * `:limit`: calls at most, 20 unless told otherwise, 1,000 at most
  * `:before`: `next` of the page before
  * `:timeout` and the like, as of every call

  ## What comes

  * `level`: the setting, `"off"`, `"redacted"` or `"texts"`
  * `calls`: maps of `"number"`, `"at"`, `"program"`, `"version"`, `"session"`, `"tenant"`,
    `"worker"`, `"attempt"`, `"outcome"` (`"ok"` or the code of an error) and `"requests"`, the
    newest call first; docs/protocol.md section 7.2 lists what is in a request
  * `next`: what to give as `before:` for calls that are older still, or nil
  """

  alias DSPex.{Error, Options, Program, Session, Stored}

  @own [:before, :limit, :program, :session, :worker]

  @enforce_keys [:level, :calls]
  defstruct [:level, :calls, :next]

  @type t :: %__MODULE__{
          level: String.t(),
          calls: [%{String.t() => term()}],
          next: pos_integer() | nil
        }

  @doc false
  @spec ask(DSPex.t(), keyword()) :: DSPex.result(t())
  def ask(dspex, options) do
    with {:ok, own, options} <- split(options),
         {:ok, options} <- Options.call(options, @own -- [:program, :session, :worker]),
         {:ok, program} <- meta(own[:program], &named/1),
         {:ok, session} <- meta(own[:session], &Session.to_meta/1),
         {:ok, worker} <- worker(own[:worker]) do
      payload = options |> Stored.payload([:before, :limit]) |> Map.merge(worker)

      dspex
      |> Stored.ask("program.history", payload, Map.merge(program, session), options)
      |> Stored.read(&from_wire/1)
    end
  end

  # What may be a handle is no option of `Options`.
  defp split(options) do
    if Keyword.keyword?(options) do
      {own, options} = Keyword.split(options, [:program, :session, :worker])
      {:ok, Map.new(own), options}
    else
      {:error, Error.invalid_argument("options", "a keyword list", options)}
    end
  end

  defp meta(nil, _read), do: {:ok, %{}}
  defp meta(given, read), do: read.(given)

  defp named(program) do
    with {:ok, program} <- Program.from(program) do
      if program.tag,
        do: {:error, Error.invalid_argument("program.tag", "no tag, which may have been moved", program.tag)},
        else: {:ok, Program.to_meta(program)}
    end
  end

  defp worker(nil), do: {:ok, %{}}
  defp worker(number) when is_integer(number) and number > 0, do: {:ok, %{"worker" => number}}
  defp worker(other), do: {:error, Error.invalid_argument("worker", "the number of a worker", other)}

  defp from_wire(answer),
    do: %__MODULE__{level: answer["level"], calls: answer["calls"] || [], next: answer["next"]}
end
