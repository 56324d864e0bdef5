defmodule DSPex.Datasets.Version do
  @moduledoc """
  A version of a dataset: what `DSPex.Datasets.get/3`, `list/2` and `versions/3` tell of it.

  * `dataset`: its `DSPex.Dataset`, with the version
  * `rows`, `size_bytes`: how many, and how long they are as stored
  * `checksum`: equal rows in equal order have equal ones, however they were sent
  * `fields`, `input_keys`: names of all fields, and of those that a program is given
  * `signature`: what each row was checked against, as `DSPex.describe/3` tells it, or nil
  * `parent`, `by`, `note`: the version that it continues, `"put"` or `"append"`, and why
  * `created`: when it was stored; `newest` which version is the newest now (`get/3` only)
  """

  alias DSPex.Dataset

  @enforce_keys [:dataset]
  defstruct @enforce_keys ++
              [:rows, :size_bytes, :checksum, :signature, :parent, :by, :note, :created, :newest] ++
              [fields: [], input_keys: []]

  @type t :: %__MODULE__{
          dataset: Dataset.t(),
          rows: non_neg_integer() | nil,
          size_bytes: non_neg_integer() | nil,
          checksum: String.t() | nil,
          fields: [String.t()],
          input_keys: [String.t()],
          signature: map() | nil,
          parent: pos_integer() | nil,
          by: String.t() | nil,
          note: String.t() | nil,
          created: DateTime.t() | nil,
          newest: pos_integer() | nil
        }

  @doc false
  @spec from_wire(map()) :: t()
  def from_wire(row) do
    %__MODULE__{
      dataset: Dataset.from_wire(row),
      rows: row["rows"],
      size_bytes: row["size_bytes"],
      checksum: row["checksum"],
      fields: row["fields"] || [],
      input_keys: row["input_keys"] || [],
      signature: row["signature"],
      parent: row["parent"],
      by: row["by"],
      note: row["note"],
      created: row["created"] || row["updated"],
      newest: row["newest"]
    }
  end
end
