defmodule DSPex.Evaluation.Pair do
  @moduledoc """
  Two evaluations by one metric.

  * `a`, `b`: their ids; `mean_a`, `mean_b`; `difference`: the mean of `b` less `a` over the `rows`
  * `low`, `high`: the ends of the difference's interval
  * `p`: how likely a difference that large is, either way, if there were none; `p_holm` the same,
    adjusted for all comparisons that were made together
  * `significant?`: whether `p_holm` is below 1 less the confidence; nothing else is meant by the word
  * `wins`, `losses`, `ties`: rows where `b` is better, worse, the same
  """

  defstruct [:a, :b, :rows, :mean_a, :mean_b, :difference, :low, :high, :p, :p_holm] ++
              [:significant?, :wins, :losses, :ties]

  @type t :: %__MODULE__{
          a: String.t(),
          b: String.t(),
          rows: non_neg_integer(),
          mean_a: float() | nil,
          mean_b: float() | nil,
          difference: float() | nil,
          low: float() | nil,
          high: float() | nil,
          p: float(),
          p_holm: float(),
          significant?: boolean(),
          wins: non_neg_integer(),
          losses: non_neg_integer(),
          ties: non_neg_integer()
        }

  @names ~w(a b rows mean_a mean_b difference low high p p_holm wins losses ties)a

  @doc false
  @spec from_wire(map()) :: t()
  def from_wire(told) do
    pair = struct!(__MODULE__, for(name <- @names, do: {name, told[Atom.to_string(name)]}))
    %{pair | significant?: told["significant"]}
  end
end
