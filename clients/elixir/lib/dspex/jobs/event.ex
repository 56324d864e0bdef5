defmodule DSPex.Jobs.Event do
  @moduledoc """
  Something that happened to a job, for good: numbered from 1, without gaps.

  * `number`: which one; `DSPex.Jobs.follow/3` goes on after it with `after:`
  * `type`: `"submitted"`, `"started"`, `"died"`, `"waiting_for_host"`, `"host_is_back"`, `"not_saved"`,
    `"done"`, `"failed"`, `"cancelled"`, or one of the job's kind
  * `data`: what there is to say of it, by name
  * `attempt`: in which one; `at`: when
  """

  @enforce_keys [:number, :type]
  defstruct [:number, :type, :at, attempt: 0, data: %{}]

  @type t :: %__MODULE__{
          number: pos_integer(),
          type: String.t(),
          at: DateTime.t() | nil,
          attempt: non_neg_integer(),
          data: map()
        }

  @doc false
  @spec from_wire(map()) :: t()
  def from_wire(%{"n" => number, "type" => type} = row) do
    %__MODULE__{
      number: number,
      type: type,
      at: row["at"],
      attempt: row["attempt"] || 0,
      data: Map.drop(row, ["n", "type", "at", "attempt"])
    }
  end
end
