defmodule DSPex.Programs.Version do
  @moduledoc """
  A version in the list of `DSPex.Programs.versions/3`: what is known of it, without its content.

  `program` is a `DSPex.Program` with this version. The other fields are as in
  `DSPex.Programs.Record`; of a version that cannot be read they are nil, and `problem` says why.
  """

  alias DSPex.Program
  alias DSPex.Programs.Record

  @enforce_keys [:program]
  defstruct @enforce_keys ++ [:lineage, :dspy, :schema, :checksum, :created, :problem, tags: []]

  @type t :: %__MODULE__{
          program: Program.t(),
          lineage: Record.lineage() | nil,
          tags: [String.t()],
          dspy: String.t() | nil,
          schema: pos_integer() | nil,
          checksum: String.t() | nil,
          created: DateTime.t() | nil,
          problem: String.t() | nil
        }

  @doc false
  @spec from_wire(map(), String.t()) :: t()
  def from_wire(row, id) do
    %__MODULE__{
      program: Program.new(id, row["version"]),
      lineage: Record.lineage(row["lineage"]),
      tags: row["tags"] || [],
      dspy: row["dspy"],
      schema: row["schema"],
      checksum: row["checksum"],
      created: row["created"],
      problem: row["problem"]
    }
  end
end
