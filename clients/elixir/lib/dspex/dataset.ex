defmodule DSPex.Dataset do
  @moduledoc """
  A stored dataset, or some of its rows: what `DSPex.Datasets` gives and takes.

  `id` is its name, `version` one of its versions or nil for the newest, and `select` says
  which rows are meant: nil for all, else a sample or one side of a split.
  It is plain data: it may be stored, and means the same rows on another day, on another
  node, and in the next release.

      iex> DSPex.Dataset.new("qa", version: 3)
      %DSPex.Dataset{id: "qa", version: 3}
      iex> DSPex.Dataset.sample(DSPex.Dataset.new("qa"), 20, seed: 7).select
      %{"sample" => 20, "seed" => 7}
  """

  alias DSPex.{Error, Name}

  @enforce_keys [:id]
  defstruct [:id, :version, :select]

  @type t :: %__MODULE__{
          id: String.t(),
          version: pos_integer() | nil,
          select: %{optional(String.t()) => term()} | nil
        }

  @doc "The handle of a dataset; `version:` one of its versions. Raises `DSPex.Error` for what is no id."
  @spec new(String.t(), keyword()) :: t()
  def new(id, options \\ []) do
    case from(%__MODULE__{id: id, version: options[:version]}) do
      {:ok, dataset} -> dataset
      {:error, error} -> raise error
    end
  end

  @doc """
  The same dataset, but only `count` rows of it, drawn without putting back.

  `seed:` a number from 0, 0 unless told otherwise; the same seed draws the same rows. A side
  of a split is drawn already: of one these are the first, and there is no seed to give.

      iex> side = %DSPex.Dataset{id: "qa", select: %{"split" => %{"a" => 0.5}, "side" => "a", "seed" => 1}}
      iex> DSPex.Dataset.sample(side, 20).select["sample"]
      20
  """
  @spec sample(t(), pos_integer(), keyword()) :: t()
  def sample(dataset, count, options \\ [])

  def sample(%__MODULE__{select: %{"side" => _side}} = dataset, count, []),
    do: %{dataset | select: Map.put(dataset.select, "sample", count)}

  def sample(%__MODULE__{} = dataset, count, options),
    do: %{dataset | select: %{"sample" => count, "seed" => Keyword.get(options, :seed, 0)}}

  @doc false
  @spec from(t() | String.t()) :: {:ok, t()} | {:error, Error.t()}
  def from(id) when is_binary(id), do: from(%__MODULE__{id: id})

  def from(%__MODULE__{id: id, version: version} = dataset) do
    cond do
      not Name.id?(id) -> {:error, Error.invalid_argument("dataset", Name.id(), id)}
      version == nil or (is_integer(version) and version > 0) -> {:ok, dataset}
      true -> {:error, Error.invalid_argument("version", "an integer from 1", version)}
    end
  end

  def from(other), do: {:error, Error.invalid_argument("dataset", "an id or a DSPex.Dataset", other)}

  @doc false
  @spec from_wire(map()) :: t()
  def from_wire(answer), do: %__MODULE__{id: answer["dataset"], version: answer["version"]}

  @doc false
  @spec to_wire(t()) :: map()
  def to_wire(%__MODULE__{} = dataset) do
    for {key, value} <- [
          {"dataset", dataset.id},
          {"version", dataset.version},
          {"select", dataset.select}
        ],
        value != nil,
        into: %{},
        do: {key, value}
  end
end
