defmodule DSPex.LM.Embeddings do
  @moduledoc """
  Vectors of texts: `vectors` is a `DSPex.Tensor` of the type `f4` and the shape
  `[texts, dimensions]`, `meta` as in a `DSPex.Prediction`.

      iex> vectors = %DSPex.Tensor{dtype: "f4", shape: [2, 1], data: <<1.0::float-little-32, 0.5::float-little-32>>}
      iex> DSPex.LM.Embeddings.to_lists(%DSPex.LM.Embeddings{vectors: vectors})
      [[1.0], [0.5]]
  """

  alias DSPex.{Error, Tensor}

  @enforce_keys [:vectors]
  defstruct [:vectors, meta: %{}]

  @type t :: %__MODULE__{vectors: Tensor.t(), meta: map()}

  @doc "A list of floats for each text. A tensor is a fraction of that; libraries for arrays take its `data`."
  @spec to_lists(t()) :: [[float() | :nan | :infinity | :neg_infinity]]
  def to_lists(%__MODULE__{vectors: %Tensor{shape: [_count, 0]} = vectors}),
    do: List.duplicate([], hd(vectors.shape))

  def to_lists(%__MODULE__{vectors: %Tensor{shape: [_count, dimensions]} = vectors}),
    do: vectors |> Tensor.to_floats() |> Enum.chunk_every(dimensions)

  @doc false
  @spec from_wire(term(), map()) :: {:ok, t()} | {:error, Error.t()}
  def from_wire(%{"vectors" => %Tensor{shape: [_, _]} = vectors}, meta),
    do: {:ok, %__MODULE__{vectors: vectors, meta: meta}}

  def from_wire(other, _meta) do
    {:error,
     Error.new(:internal, "vectors were expected, #{inspect(other, limit: 3, printable_limit: 40)} came")}
  end
end
