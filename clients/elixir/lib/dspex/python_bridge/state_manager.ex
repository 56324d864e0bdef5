defmodule DSPex.PythonBridge.StateManager do
  @moduledoc """
  Programs into the store, out of it, and sessions from worker to worker: three names for
  what `DSPex.Programs` and `DSPex.Sessions` do, and nothing else.

      {:ok, program} = StateManager.store_program(MyApp.DSPex, {"Predict", "question -> answer"}, program: "qa")
      {:ok, record} = StateManager.load_program(MyApp.DSPex, "qa")
      :ok = StateManager.migrate_state(MyApp.DSPex, session, 3)
  """

  alias DSPex.{Error, Program, Programs, Sessions, Spec}
  alias DSPex.Programs.Record

  @doc """
  Stores a program: a new one from a spec, a new version of a stored one from its handle or id.

  With a spec this is `DSPex.Programs.create/3`. With a handle or id it is
  `DSPex.Programs.update/4`: `spec:` and `state:` are then what changes.
  """
  @spec store_program(DSPex.t(), Spec.source() | Program.t() | String.t(), keyword()) ::
          DSPex.result(Program.t())
  def store_program(dspex, program_or_spec, options \\ [])

  def store_program(dspex, program, options) when is_binary(program) or is_struct(program, Program) do
    {changes, options} =
      if Keyword.keyword?(options), do: Keyword.split(options, [:spec, :state]), else: {[], options}

    Programs.update(dspex, program, changes, options)
  end

  def store_program(dspex, spec, options), do: Programs.create(dspex, spec, options)

  @doc "The same, or raises `DSPex.Error`."
  @spec store_program!(DSPex.t(), Spec.source() | Program.t() | String.t(), keyword()) :: Program.t()
  def store_program!(dspex, program_or_spec, options \\ []),
    do: Error.bang(store_program(dspex, program_or_spec, options))

  @doc "What is stored of a program; `DSPex.Programs.get/3`."
  @spec load_program(DSPex.t(), Program.t() | String.t(), keyword()) :: DSPex.result(Record.t())
  def load_program(dspex, program, options \\ []), do: Programs.get(dspex, program, options)

  @doc "The same, or raises `DSPex.Error`."
  @spec load_program!(DSPex.t(), Program.t() | String.t(), keyword()) :: Record.t()
  def load_program!(dspex, program, options \\ []), do: Programs.get!(dspex, program, options)

  @doc "Has the next turns of a session run in a worker, by its number; `DSPex.Sessions.migrate/4`."
  @spec migrate_state(DSPex.t(), Sessions.session(), pos_integer(), keyword()) :: :ok | {:error, Error.t()}
  def migrate_state(dspex, session, worker, options \\ []),
    do: Sessions.migrate(dspex, session, worker, options)

  @doc "The same, or raises `DSPex.Error`."
  @spec migrate_state!(DSPex.t(), Sessions.session(), pos_integer(), keyword()) :: :ok
  def migrate_state!(dspex, session, worker, options \\ []),
    do: Sessions.migrate!(dspex, session, worker, options)
end
