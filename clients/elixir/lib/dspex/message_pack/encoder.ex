defmodule DSPex.MessagePack.Encoder do
  @moduledoc false
  # Values to iodata. Refuses by throwing `{:refused, type, message}`, which
  # `DSPex.MessagePack` turns into an error.

  alias DSPex.{Binary, Decimal, FunctionReference, Prediction, Tagged, Tensor}

  @max_depth 64
  @max_big_integer_bytes 4096
  @max_length 0xFFFFFFFF

  @spec pack(term(), non_neg_integer()) :: iodata()
  def pack(nil, _depth), do: <<0xC0>>
  def pack(false, _depth), do: <<0xC2>>
  def pack(true, _depth), do: <<0xC3>>
  def pack(:nan, _depth), do: <<0xCB, 0x7FF8000000000000::64>>
  def pack(:infinity, _depth), do: <<0xCB, 0x7FF0000000000000::64>>
  def pack(:neg_infinity, _depth), do: <<0xCB, 0xFFF0000000000000::64>>
  def pack(value, _depth) when is_atom(value), do: text(Atom.to_string(value))
  def pack(value, _depth) when is_binary(value), do: text_or_bytes(value)
  def pack(value, _depth) when is_integer(value), do: integer(value)
  def pack(value, _depth) when is_float(value), do: <<0xCB, value::float-64>>
  def pack(value, depth) when is_list(value), do: array(value, depth + 1)
  def pack(%{__struct__: module} = value, depth), do: struct(module, value, depth)
  def pack(value, depth) when is_map(value), do: map(value, depth + 1)
  def pack(value, depth) when is_tuple(value), do: tagged("tuple", Tuple.to_list(value), depth)
  def pack(value, _depth), do: unencodable(value)

  defp integer(value) when value in 0..0x7F, do: <<value>>
  defp integer(value) when value in -32..-1, do: <<value::8>>
  defp integer(value) when value in 0..0xFF, do: <<0xCC, value>>
  defp integer(value) when value in 0..0xFFFF, do: <<0xCD, value::16>>
  defp integer(value) when value in 0..0xFFFFFFFF, do: <<0xCE, value::32>>
  defp integer(value) when value in 0..0xFFFFFFFFFFFFFFFF, do: <<0xCF, value::64>>
  defp integer(value) when value in -0x80..-1, do: <<0xD0, value::8>>
  defp integer(value) when value in -0x8000..-1, do: <<0xD1, value::16>>
  defp integer(value) when value in -0x80000000..-1, do: <<0xD2, value::32>>
  defp integer(value) when value in -0x8000000000000000..-1, do: <<0xD3, value::64>>

  defp integer(value) do
    # Two's complement of the least number of bytes that holds value and sign.
    magnitude = if value < 0, do: -value - 1, else: value
    unsigned = :binary.encode_unsigned(magnitude)
    size = byte_size(unsigned) + if(:binary.first(unsigned) > 0x7F, do: 1, else: 0)

    if size > @max_big_integer_bytes,
      do: refuse("an integer of #{size} bytes; the limit is #{@max_big_integer_bytes}")

    extension(1, <<value::signed-size(size)-unit(8)>>)
  end

  defp text_or_bytes(value) do
    if String.valid?(value), do: text(value), else: bytes(value)
  end

  defp text(value) do
    case byte_size(value) do
      size when size < 32 -> [<<0b101::3, size::5>> | value]
      size when size <= 0xFF -> [<<0xD9, size>> | value]
      size when size <= 0xFFFF -> [<<0xDA, size::16>> | value]
      size when size <= @max_length -> [<<0xDB, size::32>> | value]
    end
  end

  defp bytes(value) do
    case byte_size(value) do
      size when size <= 0xFF -> [<<0xC4, size>> | value]
      size when size <= 0xFFFF -> [<<0xC5, size::16>> | value]
      size when size <= @max_length -> [<<0xC6, size::32>> | value]
    end
  end

  defp array(_value, depth) when depth > @max_depth, do: too_deep()

  defp array(value, depth) do
    if List.improper?(value), do: refuse("an improper list has no form on the wire")
    [array_header(length(value)) | for(member <- value, do: pack(member, depth))]
  end

  defp array_header(count) when count < 16, do: <<0b1001::4, count::4>>
  defp array_header(count) when count <= 0xFFFF, do: <<0xDC, count::16>>
  defp array_header(count), do: <<0xDD, count::32>>

  defp map(_value, depth) when depth > @max_depth, do: too_deep()

  defp map(value, depth) do
    pairs = :maps.to_list(value)

    if Enum.all?(pairs, fn {key, _} -> name?(key) end),
      do: named(pairs, map_size(value), depth),
      else: tagged("pairs", for({key, member} <- pairs, do: [key, member]), depth - 1)
  end

  defp named(pairs, count, depth) do
    unique = for {key, _} <- pairs, is_atom(key), into: MapSet.new(), do: Atom.to_string(key)

    for {key, _} <- pairs, is_binary(key), MapSet.member?(unique, key) do
      throw({:refused, :value_duplicate_key, "a map has the key #{inspect(key)} as atom and as string"})
    end

    [map_header(count) | for({key, member} <- pairs, do: [key(key) | pack(member, depth)])]
  end

  defp name?(key) when is_atom(key), do: true
  defp name?(key) when is_binary(key), do: String.valid?(key)
  defp name?(_key), do: false

  defp key(key) when is_atom(key), do: text(Atom.to_string(key))
  defp key(key), do: text(key)

  defp map_header(count) when count < 16, do: <<0b1000::4, count::4>>
  defp map_header(count) when count <= 0xFFFF, do: <<0xDE, count::16>>
  defp map_header(count), do: <<0xDF, count::32>>

  defp struct(Binary, %{data: data}, _depth) when is_binary(data), do: bytes(data)
  defp struct(Date, date, depth), do: tagged("date", Date.to_iso8601(date), depth)
  defp struct(Time, time, depth), do: tagged("time", Time.to_iso8601(time), depth)
  defp struct(NaiveDateTime, it, depth), do: tagged("datetime", NaiveDateTime.to_iso8601(it), depth)
  defp struct(DateTime, moment, _depth), do: timestamp(moment)
  defp struct(MapSet, set, depth), do: tagged("set", Enum.sort(set), depth)

  defp struct(Decimal, %{text: text} = value, _depth) do
    case is_binary(text) and Decimal.new(text) do
      {:ok, _} -> extension(2, text)
      _ -> unencodable(value)
    end
  end

  defp struct(Tensor, %{dtype: dtype, shape: shape, data: data} = value, depth) do
    case is_binary(data) and Tensor.new(dtype, shape, data) do
      {:ok, _} -> extension(3, IO.iodata_to_binary(pack([dtype, shape, Binary.new(data)], depth)))
      {:error, message} -> refuse(message)
      false -> unencodable(value)
    end
  end

  defp struct(FunctionReference, %{name: name} = value, _depth) do
    if is_binary(name) and byte_size(name) in 1..128 and String.valid?(name),
      do: extension(4, name),
      else: unencodable(value)
  end

  defp struct(Tagged, %{tag: tag, value: value}, depth) do
    if is_binary(tag) and byte_size(tag) in 1..64 and String.valid?(tag),
      do: tagged(tag, value, depth),
      else: refuse("a tag is a string of 1 to 64 bytes, not #{inspect(tag)}")
  end

  defp struct(Prediction, prediction, depth), do: pack(Prediction.to_wire(prediction), depth)

  defp struct(_module, value, _depth), do: unencodable(value)

  defp tagged(tag, value, depth), do: extension(5, IO.iodata_to_binary(pack([tag, value], depth)))

  # MessagePack's own: the shortest of its three forms.
  defp timestamp(moment) do
    seconds = DateTime.to_unix(moment, :second)
    {microseconds, _precision} = moment.microsecond
    nanoseconds = microseconds * 1000

    cond do
      seconds in 0..0xFFFFFFFF and nanoseconds == 0 -> extension(-1, <<seconds::32>>)
      seconds in 0..0x3FFFFFFFF -> extension(-1, <<nanoseconds::30, seconds::34>>)
      true -> extension(-1, <<nanoseconds::32, seconds::signed-64>>)
    end
  end

  defp extension(type, data) do
    case byte_size(data) do
      1 -> [<<0xD4, type::signed>> | data]
      2 -> [<<0xD5, type::signed>> | data]
      4 -> [<<0xD6, type::signed>> | data]
      8 -> [<<0xD7, type::signed>> | data]
      16 -> [<<0xD8, type::signed>> | data]
      size when size <= 0xFF -> [<<0xC7, size, type::signed>> | data]
      size when size <= 0xFFFF -> [<<0xC8, size::16, type::signed>> | data]
      size when size <= @max_length -> [<<0xC9, size::32, type::signed>> | data]
    end
  end

  defp unencodable(%{__struct__: module}),
    do: refuse("a #{inspect(module)} has no form on the wire; turn it into a map or a string first")

  defp unencodable(value) do
    refuse("#{inspect(value, limit: 3, printable_limit: 40)} has no form on the wire")
  end

  defp refuse(message), do: throw({:refused, :value_unencodable, message})

  defp too_deep do
    throw({:refused, :value_too_deep, "the value is nested more than #{@max_depth} deep"})
  end
end
