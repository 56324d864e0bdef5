defmodule DSPex.MessagePack.Extension do
  @moduledoc false
  # What the content of an extension becomes; docs/protocol.md section 3.1 is the table.

  alias DSPex.{Binary, Decimal, FunctionReference, Tagged, Tensor}

  @uuid ~r/\A[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\z/

  @doc false
  @spec from_bytes(integer(), binary()) :: term()
  def from_bytes(-1, <<seconds::32>>), do: moment(seconds, 0)
  def from_bytes(-1, <<nanoseconds::30, seconds::34>>), do: moment(seconds, nanoseconds)
  def from_bytes(-1, <<nanoseconds::32, seconds::signed-64>>), do: moment(seconds, nanoseconds)
  def from_bytes(-1, _data), do: refuse("a timestamp has 4, 8 or 12 bytes")

  def from_bytes(1, data) when byte_size(data) in 1..4096 do
    size = byte_size(data)
    <<number::signed-size(size)-unit(8)>> = data
    number
  end

  def from_bytes(1, data), do: refuse("a big integer has 1 to 4,096 bytes, not #{byte_size(data)}")

  def from_bytes(2, data) do
    case Decimal.new(data) do
      {:ok, decimal} -> decimal
      :error -> refuse("a decimal is -?digits[.digits][E[+-]digits], NaN, Infinity or -Infinity")
    end
  end

  def from_bytes(4, data) do
    if byte_size(data) in 1..128 and String.valid?(data),
      do: %FunctionReference{name: data},
      else: refuse("a function's name has 1 to 128 bytes of UTF-8")
  end

  @doc false
  @spec from_parts(integer(), term()) :: term()
  def from_parts(3, [dtype, shape, %Binary{data: data}]) do
    case Tensor.new(dtype, shape, data) do
      {:ok, tensor} -> tensor
      {:error, message} -> refuse(message)
    end
  end

  def from_parts(3, _parts), do: refuse("a tensor is [dtype, shape, data]")

  def from_parts(5, [tag, value]) when is_binary(tag) and byte_size(tag) in 1..64 do
    case tagged(tag, value) do
      {:ok, value} -> value
      _ -> refuse("the content of a tagged #{tag} is malformed")
    end
  end

  def from_parts(5, _parts), do: refuse("a tagged value is [tag, value] with a tag of 1 to 64 bytes")

  defp tagged("date", text) when is_binary(text), do: Date.from_iso8601(text)
  defp tagged("time", text) when is_binary(text), do: time(text)
  defp tagged("datetime", text) when is_binary(text), do: naive(text)
  defp tagged("tuple", members) when is_list(members), do: {:ok, List.to_tuple(members)}
  defp tagged("set", members) when is_list(members), do: set(members)
  defp tagged("pairs", pairs) when is_list(pairs), do: pairs(pairs)
  defp tagged("duration", number) when is_integer(number), do: keep("duration", number)
  defp tagged("uuid", text) when is_binary(text), do: if(text =~ @uuid, do: keep("uuid", text))
  defp tagged(tag, _value) when tag in ~w(date time datetime tuple set pairs duration uuid), do: nil
  defp tagged(tag, value), do: keep(tag, value)

  defp keep(tag, value), do: {:ok, %Tagged{tag: tag, value: value}}

  # Elixir's parser reads an offset and drops it: what has one stays a tagged text.
  defp time(text) do
    with {:ok, time} <- Time.from_iso8601(text) do
      if text =~ ~r/[Z+-]/, do: keep("time", text), else: {:ok, time}
    end
  end

  # The same with a date in front; an offset is against the protocol here.
  defp naive(text) do
    if text =~ ~r/(Z|[+-]\d\d:?\d\d)\z/ and text =~ "T", do: nil, else: NaiveDateTime.from_iso8601(text)
  end

  defp set(members) do
    set = MapSet.new(members)
    if MapSet.size(set) == length(members), do: {:ok, set}
  end

  defp pairs(pairs) do
    if Enum.all?(pairs, &match?([_, _], &1)) do
      map = Map.new(pairs, fn [key, value] -> {key, value} end)
      if map_size(map) == length(pairs), do: {:ok, map}
    end
  end

  defp moment(seconds, nanoseconds) when nanoseconds <= 999_999_999 do
    case DateTime.from_unix(seconds) do
      {:ok, %{year: year} = moment} when year in 1..9999 -> with_fraction(moment, nanoseconds)
      _ -> refuse("a timestamp is outside of the calendar")
    end
  end

  defp moment(_seconds, nanoseconds), do: refuse("a timestamp has #{nanoseconds} nanoseconds")

  defp with_fraction(moment, 0), do: moment
  defp with_fraction(moment, nanoseconds), do: %{moment | microsecond: {div(nanoseconds, 1000), 6}}

  @spec refuse(String.t()) :: no_return()
  defp refuse(message), do: throw({:refused, :value_bad_extension, message})
end
