defmodule DSPex.Sessions.Record do
  @moduledoc """
  A session with its past; `DSPex.Sessions.get/3` returns it.

  Beside the fields of a `DSPex.Sessions.Summary`:

  * `history`: a map for each turn, with that turn's inputs and outputs; string keys
  * `state`: what the turns have changed in the program's modules, as
    `DSPex.Programs.State`, or nil
  * `worker`: the number of the worker that has it in memory, or nil

  `inspect/1` tells how many turns there are, and not what was said.
  """

  alias DSPex.{Program, Session}
  alias DSPex.Sessions.Summary

  @enforce_keys [:session]
  defstruct @enforce_keys ++ [:program, :turn, :ttl, :created, :state, :worker, history: []]

  @type t :: %__MODULE__{
          session: Session.t(),
          program: Program.t() | nil,
          turn: non_neg_integer() | nil,
          ttl: pos_integer() | nil,
          created: DateTime.t() | nil,
          history: [map()],
          state: map() | nil,
          worker: pos_integer() | nil
        }

  @doc false
  @spec from_wire(map()) :: t()
  def from_wire(answer) do
    more = [history: answer["history"] || [], state: answer["state"], worker: answer["worker"]]
    struct!(__MODULE__, Summary.fields(answer) ++ more)
  end

  defimpl Inspect do
    def inspect(record, _options) do
      with_program = if record.program, do: " with #{record.program.id} version #{record.program.version}"
      "#DSPex.Sessions.Record<#{record.session.id}#{with_program}, turn #{record.turn}>"
    end
  end
end
