defmodule DSPex.Programs.Summary do
  @moduledoc """
  A program in the list of `DSPex.Programs.list/2`.

  `program` is a `DSPex.Program` with the version that is the newest, `module` the name of
  its DSPy module, `tags` a map of tag to version; `created` and `updated` say when its
  first and its newest version were stored.
  """

  alias DSPex.Program

  @enforce_keys [:program]
  defstruct @enforce_keys ++ [:module, :created, :updated, tags: %{}]

  @type t :: %__MODULE__{
          program: Program.t(),
          module: String.t() | nil,
          tags: %{optional(String.t()) => pos_integer()},
          created: DateTime.t() | nil,
          updated: DateTime.t() | nil
        }

  @doc false
  @spec from_wire(map()) :: t()
  def from_wire(row) do
    %__MODULE__{
      program: Program.from_wire(row),
      module: row["module"],
      tags: row["tags"] || %{},
      created: row["created"],
      updated: row["updated"]
    }
  end
end
