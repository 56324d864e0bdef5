defmodule DSPex.Page do
  @moduledoc """
  A part of a list that may be long: its entries, and where the next page begins.

      {:ok, page} = DSPex.Programs.list(dspex, limit: 20)
      {:ok, second} = DSPex.Programs.list(dspex, limit: 20, after: page.next)

  `next` is nil on the last page. `unreadable` are ids that were come across and cannot be
  shown, since their records are damaged or of a newer DSPex; mostly there are none.
  """

  @enforce_keys [:entries]
  defstruct [:entries, :next, unreadable: []]

  @type t(entry) :: %__MODULE__{
          entries: [entry],
          next: String.t() | pos_integer() | nil,
          unreadable: [String.t()]
        }

  @doc false
  @spec from_wire(map(), String.t(), (map() -> entry)) :: t(entry) when entry: term()
  def from_wire(answer, key, read) do
    %__MODULE__{
      entries: Enum.map(answer[key] || [], read),
      next: answer["next"],
      unreadable: answer["unreadable"] || []
    }
  end
end
