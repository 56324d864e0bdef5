defmodule DSPex.Programs.Change do
  @moduledoc """
  One difference between two versions of a program; `DSPex.Programs.diff/4` returns a list of them.

  * `path`: where, such as `"state.predict.demos[0].question"`
  * `change`: `:added`, `:removed` or `:changed`
  * `before`, `after`: the values; nil where there is none

  `inspect/1` leaves the two values out, since they may be what people have said.
  """

  @enforce_keys [:path, :change]
  defstruct @enforce_keys ++ [:before, :after]

  @type t :: %__MODULE__{
          path: String.t(),
          change: :added | :removed | :changed | nil,
          before: term(),
          after: term()
        }

  @changes %{"added" => :added, "removed" => :removed, "changed" => :changed}

  @doc false
  @spec from_wire(map()) :: t()
  def from_wire(row) do
    %__MODULE__{
      path: row["path"],
      change: @changes[row["change"]],
      before: row["before"],
      after: row["after"]
    }
  end

  defimpl Inspect do
    def inspect(change, _options), do: "#DSPex.Programs.Change<#{change.path} #{change.change}>"
  end
end
