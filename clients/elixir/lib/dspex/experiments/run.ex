defmodule DSPex.Experiments.Run do
  @moduledoc """
  A run of an experiment: what `DSPex.Experiments` tells of it, and by what its functions know it.

  * `experiment`, `id`: which it is; a run of these two alone names one
  * `number`: counts the runs of the experiment, from 1
  * `state`: `:open`, `:done` or `:failed`
  * `params`, `lineage`: maps with strings for keys
  * `metrics`: by name `%{last: …, step: …, least: …, most: …, points: …}`
  * `artifacts`: by name `%{media_type: …, size_bytes: …, sha256: …}`
  * `note`, `created`, `ended`
  """

  @enforce_keys [:experiment, :id]
  defstruct @enforce_keys ++
              [
                :number,
                :state,
                :note,
                :created,
                :ended,
                params: %{},
                lineage: %{},
                metrics: %{},
                artifacts: %{}
              ]

  @type t :: %__MODULE__{
          experiment: String.t(),
          id: String.t(),
          number: pos_integer() | nil,
          state: :open | :done | :failed | nil,
          note: String.t() | nil,
          created: DateTime.t() | nil,
          ended: DateTime.t() | nil,
          params: %{optional(String.t()) => String.t() | number() | boolean() | nil},
          lineage: %{optional(String.t()) => String.t() | number() | boolean() | nil},
          metrics: %{optional(String.t()) => map()},
          artifacts: %{optional(String.t()) => map()}
        }

  @doc "The run of that id in an experiment; nothing is asked."
  @spec new(String.t(), String.t()) :: t()
  def new(experiment, id), do: %__MODULE__{experiment: experiment, id: id}

  @doc false
  # The one that a job or an evaluation names as its own.
  @spec named(map()) :: t() | nil
  def named(%{"experiment" => experiment, "run" => id}) when is_binary(id), do: new(experiment, id)
  def named(_row), do: nil

  @doc false
  @spec from_wire(map()) :: t()
  def from_wire(row) do
    %__MODULE__{
      experiment: row["experiment"],
      id: row["run"],
      number: row["number"],
      state: state(row["state"]),
      note: row["note"],
      created: row["created"],
      ended: row["ended"],
      params: row["params"] || %{},
      lineage: row["lineage"] || %{},
      metrics: each(row["metrics"], ~w(last step least most points)a),
      artifacts: each(row["artifacts"], ~w(media_type size_bytes sha256)a)
    }
  end

  defp state(nil), do: nil
  defp state("open"), do: :open
  defp state("done"), do: :done
  defp state("failed"), do: :failed

  defp each(rows, keys) do
    Map.new(rows || %{}, fn {name, row} -> {name, Map.new(keys, &{&1, row[Atom.to_string(&1)]})} end)
  end
end
