defmodule DSPex.OpenCalls do
  @moduledoc false
  # The calls of an instance that have no outcome yet, in a table that callers and the
  # connection share. Whoever takes an entry out settles the call: the connection when its
  # outcome comes or the server dies, the caller when its time is over. So each call is
  # settled once. The supervisor owns the table; a connection that crashes leaves it.

  alias DSPex.{Error, Wire}

  @type id :: pos_integer()

  @doc "Makes the table of an instance; the calling process owns it."
  @spec new(atom(), pos_integer()) :: atom()
  def new(dspex, timeout) do
    table = :ets.new(table(dspex), [:named_table, :public, read_concurrency: true, write_concurrency: true])
    :ets.insert(table, next_id: 0, wire: {:connecting, nil}, timeout: timeout)
    table
  end

  @spec next_id(atom()) :: id()
  def next_id(dspex), do: :ets.update_counter(table(dspex), :next_id, 1)

  @doc "The same for a caller, whose instance may be stopped meanwhile."
  @spec take_id(atom()) :: {:ok, id()} | {:error, Error.t()}
  def take_id(dspex) do
    {:ok, next_id(dspex)}
  rescue
    ArgumentError -> {:error, not_running(dspex)}
  end

  @typedoc "The open wire, or why there is none: the last one ended so (in words), or calls are refused."
  @type state :: {:ok, Wire.t()} | {:connecting, String.t() | nil} | {:error, Error.t()}

  @doc "The open wire, or why there is none."
  @spec wire(atom()) :: state()
  def wire(dspex) do
    :ets.lookup_element(table(dspex), :wire, 2)
  rescue
    ArgumentError -> {:error, not_running(dspex)}
  end

  defp not_running(dspex) do
    message =
      "no DSPex instance named #{inspect(dspex)} is running; put {DSPex, name: …} in a supervision tree"

    Error.new(:unavailable, message)
  end

  @spec put_wire(atom(), state()) :: true
  def put_wire(dspex, wire), do: :ets.insert(table(dspex), {:wire, wire})

  @doc "Milliseconds for calls that name none."
  @spec timeout(atom()) :: pos_integer()
  def timeout(dspex) do
    :ets.lookup_element(table(dspex), :timeout, 2)
  rescue
    # No instance: opening the call will say so, and must have the time for it.
    ArgumentError -> 1_000
  end

  @doc """
  Notes that the calling process waits for the outcome of `id` at the alias `ref`.

  The connection hears of it first: a caller that is killed between the two leaves no entry.
  """
  @spec add(atom(), id(), Wire.t(), reference()) :: :ok | {:error, Error.t()}
  def add(dspex, id, wire, ref) do
    Kernel.send(wire.owner, {:watch, id, self(), wire.generation})
    :ets.insert(table(dspex), {{:call, id}, ref})
    :ok
  rescue
    # The instance was stopped at this moment.
    ArgumentError -> {:error, not_running(dspex)}
  end

  @doc "Where the outcome of an open call goes."
  @spec find(atom(), id()) :: {:ok, reference()} | :error
  def find(dspex, id), do: dspex |> table() |> :ets.lookup({:call, id}) |> ref()

  @doc "Takes a call out: the one who gets it settles it."
  @spec take(atom(), id()) :: {:ok, reference()} | :error
  def take(dspex, id) do
    dspex |> table() |> :ets.take({:call, id}) |> ref()
  rescue
    # The instance was stopped, and its table with it.
    ArgumentError -> :error
  end

  @doc "Ids of all open calls."
  @spec ids(atom()) :: [id()]
  def ids(dspex), do: for([id] <- :ets.match(table(dspex), {{:call, :"$1"}, :_}), do: id)

  defp ref([{_id, ref}]), do: {:ok, ref}
  defp ref([]), do: :error

  defp table(dspex) when is_atom(dspex), do: Module.concat(dspex, "OpenCalls")
  # As for a name that nobody has.
  defp table(_no_name), do: raise(ArgumentError)
end
