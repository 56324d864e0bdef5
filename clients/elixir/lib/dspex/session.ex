defmodule DSPex.Session do
  @moduledoc """
  A handle on a session, safe to store and to send around: its id, and the program that it talks to.

  Wherever a program is wanted to predict, a session may be given; see `DSPex.Sessions`.
  The id is enough for that:

      iex> DSPex.Session.new("visitor-42")
      %DSPex.Session{id: "visitor-42", program: nil}
  """

  alias DSPex.{Error, Name, Program}

  @enforce_keys [:id]
  defstruct [:id, :program]

  @typedoc "`program` is the version that the session has for its whole life, where that is known."
  @type t :: %__MODULE__{id: String.t(), program: Program.t() | nil}

  @doc "A handle on the session of that id."
  @spec new(String.t()) :: t()
  def new(id) when is_binary(id), do: %__MODULE__{id: id}

  @doc false
  @spec to_meta(term()) :: {:ok, map()} | {:error, Error.t()}
  def to_meta(id) when is_binary(id), do: to_meta(new(id))

  def to_meta(%__MODULE__{id: id} = session) do
    if is_binary(id) and Name.id?(id),
      do: {:ok, %{"session" => id}},
      else: {:error, Error.invalid_argument("session", expected(), if(is_binary(id), do: id, else: session))}
  end

  def to_meta(other), do: {:error, Error.invalid_argument("session", expected(), other)}

  defp expected, do: "a DSPex.Session or #{Name.id()}"

  @doc false
  @spec from_wire(map()) :: t()
  def from_wire(%{"session" => id} = answer),
    do: %__MODULE__{id: id, program: if(answer["program"], do: Program.from_wire(answer))}
end
