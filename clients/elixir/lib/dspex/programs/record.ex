defmodule DSPex.Programs.Record do
  @moduledoc """
  One version of a stored program, with all that is known of it; `DSPex.Programs.get/3` returns it.

  * `program`: a `DSPex.Program` with this very version, to predict with
  * `newest`: the number of the program's newest version
  * `spec`: a `DSPex.Spec`; `state`: what the program has learned, as maps with string keys
    (`DSPex.Programs.State`). So `DSPex.Programs.create(dspex, record.spec, state: record.state)`
    makes a copy
  * `lineage`: where it comes from, see `t:lineage/0`
  * `tags`: those that this version has
  * `dspy`, `schema`: version of DSPy, and of the record's form, that wrote it
  * `checksum`, `created`

  `inspect/1` tells how many demos there are, and not what they say.
  """

  alias DSPex.{Program, Spec}

  @enforce_keys [:program]
  defstruct @enforce_keys ++
              [:newest, :spec, :state, :lineage, :dspy, :schema, :checksum, :created, tags: []]

  @typedoc """
  Where a version comes from: the version that it was made of (nil for the first), by what
  (`"create"`, `"update"`, `"rollback"`, `"import"`, or the name of what did it), a note for
  people, and numbers by name.
  """
  @type lineage :: %{
          parent: pos_integer() | nil,
          by: String.t() | nil,
          note: String.t() | nil,
          scores: %{optional(String.t()) => number()}
        }

  @type t :: %__MODULE__{
          program: Program.t(),
          newest: pos_integer() | nil,
          spec: Spec.t() | map() | nil,
          state: %{optional(String.t()) => map()} | nil,
          lineage: lineage() | nil,
          tags: [String.t()],
          dspy: String.t() | nil,
          schema: pos_integer() | nil,
          checksum: String.t() | nil,
          created: DateTime.t() | nil
        }

  @doc false
  @spec from_wire(map()) :: t()
  def from_wire(answer) do
    %__MODULE__{
      program: Program.from_wire(answer),
      newest: answer["newest"],
      spec: Spec.from_wire(answer["spec"]),
      state: answer["state"],
      lineage: lineage(answer["lineage"]),
      tags: answer["tags"] || [],
      dspy: answer["dspy"],
      schema: answer["schema"],
      checksum: answer["checksum"],
      created: answer["created"]
    }
  end

  @doc false
  @spec lineage(map() | nil) :: lineage() | nil
  def lineage(nil), do: nil

  def lineage(it),
    do: %{parent: it["parent"], by: it["by"], note: it["note"], scores: it["scores"] || %{}}

  defimpl Inspect do
    import Inspect.Algebra

    def inspect(record, options) do
      shown = [
        module: record.spec && Map.get(record.spec, :module),
        newest: record.newest,
        tags: record.tags,
        demos: demos(record.state),
        lineage: record.lineage
      ]

      concat([
        "#DSPex.Programs.Record<",
        "#{record.program.id} version #{record.program.version}, ",
        to_doc(shown, options),
        ">"
      ])
    end

    defp demos(%{} = state), do: Map.new(state, fn {name, parts} -> {name, length(parts["demos"] || [])} end)
    defp demos(nil), do: nil
  end
end
