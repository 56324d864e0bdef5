defmodule DSPex.Tensor do
  @moduledoc """
  Numbers of one type in a shape, as raw little-endian row-major bytes.

  The fast way to send embeddings and arrays: 8,192 floats as a list take a hundred times
  as long as one tensor. `dtype` is one of `bool i1 i2 i4 i8 u1 u2 u4 u8 f2 f4 f8`.

      iex> tensor = DSPex.Tensor.from_floats([1.0, 2.5])
      iex> {tensor.dtype, tensor.shape, byte_size(tensor.data)}
      {"f8", [2], 16}
      iex> DSPex.Tensor.to_floats(tensor)
      [1.0, 2.5]
  """
  @enforce_keys [:dtype, :shape, :data]
  defstruct [:dtype, :shape, :data]

  @type t :: %__MODULE__{dtype: String.t(), shape: [non_neg_integer()], data: binary()}

  @item_bytes %{
    "bool" => 1,
    "i1" => 1,
    "i2" => 2,
    "i4" => 4,
    "i8" => 8,
    "u1" => 1,
    "u2" => 2,
    "u4" => 4,
    "u8" => 8,
    "f2" => 2,
    "f4" => 4,
    "f8" => 8
  }
  @max_rank 32

  @doc "Builds a tensor when dtype, shape and the length of `data` agree."
  @spec new(String.t(), [non_neg_integer()], binary()) :: {:ok, t()} | {:error, String.t()}
  def new(dtype, shape, data) when is_binary(data) do
    cond do
      not is_map_key(@item_bytes, dtype) ->
        {:error, "a tensor's dtype is one of #{Enum.join(Map.keys(@item_bytes), " ")}"}

      not shape?(shape) ->
        {:error, "a tensor's shape is at most #{@max_rank} non-negative integers"}

      Enum.product(shape) * @item_bytes[dtype] != byte_size(data) ->
        {:error, "a tensor's data has #{byte_size(data)} bytes, which is not what its shape needs"}

      true ->
        {:ok, %__MODULE__{dtype: dtype, shape: shape, data: data}}
    end
  end

  @doc "A one-dimensional tensor of 64-bit floats."
  @spec from_floats([float()]) :: t()
  def from_floats(floats) when is_list(floats) do
    data = for float <- floats, into: <<>>, do: <<float::float-little-64>>
    %__MODULE__{dtype: "f8", shape: [length(floats)], data: data}
  end

  @doc "The numbers of an `f4` or `f8` tensor in row-major order; NaN and infinities become atoms."
  @spec to_floats(t()) :: [float() | :nan | :infinity | :neg_infinity]
  def to_floats(%__MODULE__{dtype: "f8", data: data}) do
    for <<item::binary-8 <- data>>, do: float(item)
  end

  def to_floats(%__MODULE__{dtype: "f4", data: data}) do
    for <<item::binary-4 <- data>>, do: float(item)
  end

  defp float(<<float::float-little-64>>), do: float
  defp float(<<float::float-little-32>>), do: float
  defp float(<<0::48, 0xF0, 0x7F>>), do: :infinity
  defp float(<<0::48, 0xF0, 0xFF>>), do: :neg_infinity
  defp float(<<0::16, 0x80, 0x7F>>), do: :infinity
  defp float(<<0::16, 0x80, 0xFF>>), do: :neg_infinity
  defp float(_not_a_number), do: :nan

  defp shape?(shape) when is_list(shape) do
    length(shape) <= @max_rank and Enum.all?(shape, &(is_integer(&1) and &1 >= 0))
  end

  defp shape?(_other), do: false
end
