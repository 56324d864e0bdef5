defmodule DSPex.Evaluation.Failures do
  @moduledoc """
  What went wrong with an evaluation's rows: what `DSPex.Evaluation.failures/3` gives.

  * `evaluation`: its id; `rows`: how many it has; `failing`: how many of them are in a cluster
  * `clusters`: the largest first, each a map:

  | key | |
  |---|---|
  | `:kind` | `:error` of the program, `:metric_error` of a metric without a score, or `:score`: one that is bad |
  | `:metric`, `:part` | which metric, and which part of one made of others (`"tone.words"`), or nil |
  | `:code`, `:message`, `:field` | of the error; the message without numbers and quotes |
  | `:count`, `:share` | of rows; of all rows |
  | `:mean` | of the scores, of the kind `:score` |
  | `:rows` | indexes of the first ten; `DSPex.Evaluation.rows/3` with `indexes:` has them |
  """

  defstruct [:evaluation, rows: 0, failing: 0, clusters: []]

  @type cluster :: %{
          kind: :error | :metric_error | :score,
          metric: String.t() | nil,
          part: String.t() | nil,
          code: String.t() | nil,
          message: String.t() | nil,
          field: String.t() | nil,
          count: pos_integer(),
          share: float(),
          mean: float() | nil,
          rows: [non_neg_integer()]
        }

  @type t :: %__MODULE__{
          evaluation: String.t(),
          rows: non_neg_integer(),
          failing: non_neg_integer(),
          clusters: [cluster()]
        }

  @kinds %{"error" => :error, "metric_error" => :metric_error, "score" => :score}
  @names ~w(metric part code message field count share mean rows)a

  @doc false
  @spec from_wire(map()) :: t()
  def from_wire(told) do
    %__MODULE__{
      evaluation: told["evaluation"],
      rows: told["rows"],
      failing: told["failing"],
      clusters: Enum.map(told["clusters"], &cluster/1)
    }
  end

  defp cluster(told) do
    @names
    |> Map.new(&{&1, told[Atom.to_string(&1)]})
    |> Map.put(:kind, Map.get(@kinds, told["kind"], :error))
  end
end
