defmodule DSPex.Sessions.Summary do
  @moduledoc """
  A session in the list of `DSPex.Sessions.list/2`.

  `session` is its `DSPex.Session`, `program` the `DSPex.Program` with the version that it
  talks to, `turn` how many turns it has had, `ttl` after how many milliseconds without a
  turn it is forgotten, `created` when it was opened.
  """

  alias DSPex.{Program, Session}

  @enforce_keys [:session]
  defstruct @enforce_keys ++ [:program, :turn, :ttl, :created]

  @type t :: %__MODULE__{
          session: Session.t(),
          program: Program.t() | nil,
          turn: non_neg_integer() | nil,
          ttl: pos_integer() | nil,
          created: DateTime.t() | nil
        }

  @doc false
  @spec from_wire(map()) :: t()
  def from_wire(row), do: struct!(__MODULE__, fields(row))

  @doc false
  @spec fields(map()) :: keyword()
  def fields(answer) do
    session = Session.from_wire(answer)

    [
      session: session,
      program: session.program,
      turn: answer["turn"],
      ttl: answer["ttl_s"] && round(answer["ttl_s"] * 1_000),
      created: answer["created"]
    ]
  end
end
