defmodule DSPex.MessagePack.Decoder do
  @moduledoc false
  # Bytes to values: one clause for each first byte, so that the compiler makes one jump
  # of it. Refuses by throwing `{:refused, type, message}`.
  #
  # `depth` is how many containers are open. `budget` counts items where there could be
  # too many: a payload cannot have more items than bytes, so short ones need no counting.

  alias DSPex.Binary
  alias DSPex.MessagePack.Extension

  @max_depth 64
  @max_items 1_048_576

  @spec decode(binary()) :: term()
  def decode(payload) do
    budget = if byte_size(payload) > @max_items, do: :counters.new(1, [])
    spend(budget, 1)

    case value(payload, 0, budget) do
      {value, <<>>} -> value
      {_value, rest} -> refuse(:value_trailing, "#{byte_size(rest)} bytes follow the value")
    end
  end

  defp value(<<0xC0, rest::binary>>, _depth, _budget), do: {nil, rest}
  defp value(<<0xC2, rest::binary>>, _depth, _budget), do: {false, rest}
  defp value(<<0xC3, rest::binary>>, _depth, _budget), do: {true, rest}
  defp value(<<0::1, number::7, rest::binary>>, _depth, _budget), do: {number, rest}
  defp value(<<0b111::3, low::5, rest::binary>>, _depth, _budget), do: {low - 32, rest}
  defp value(<<0b101::3, size::5, rest::binary>>, _depth, _budget), do: text(rest, size)
  defp value(<<0b1001::4, count::4, rest::binary>>, depth, budget), do: array(rest, count, depth, budget)
  defp value(<<0b1000::4, count::4, rest::binary>>, depth, budget), do: map(rest, count, depth, budget)
  defp value(<<0xCC, number, rest::binary>>, _depth, _budget), do: {number, rest}
  defp value(<<0xCD, number::16, rest::binary>>, _depth, _budget), do: {number, rest}
  defp value(<<0xCE, number::32, rest::binary>>, _depth, _budget), do: {number, rest}
  defp value(<<0xCF, number::64, rest::binary>>, _depth, _budget), do: {number, rest}
  defp value(<<0xD0, number::signed-8, rest::binary>>, _depth, _budget), do: {number, rest}
  defp value(<<0xD1, number::signed-16, rest::binary>>, _depth, _budget), do: {number, rest}
  defp value(<<0xD2, number::signed-32, rest::binary>>, _depth, _budget), do: {number, rest}
  defp value(<<0xD3, number::signed-64, rest::binary>>, _depth, _budget), do: {number, rest}
  defp value(<<0xCB, bits::binary-8, rest::binary>>, _depth, _budget), do: {float(bits), rest}
  defp value(<<0xCA, bits::binary-4, rest::binary>>, _depth, _budget), do: {float(bits), rest}
  defp value(<<0xD9, size, rest::binary>>, _depth, _budget), do: text(rest, size)
  defp value(<<0xDA, size::16, rest::binary>>, _depth, _budget), do: text(rest, size)
  defp value(<<0xDB, size::32, rest::binary>>, _depth, _budget), do: text(rest, size)
  defp value(<<0xC4, size, rest::binary>>, _depth, _budget), do: bytes(rest, size)
  defp value(<<0xC5, size::16, rest::binary>>, _depth, _budget), do: bytes(rest, size)
  defp value(<<0xC6, size::32, rest::binary>>, _depth, _budget), do: bytes(rest, size)
  defp value(<<0xDC, count::16, rest::binary>>, depth, budget), do: array(rest, count, depth, budget)
  defp value(<<0xDD, count::32, rest::binary>>, depth, budget), do: array(rest, count, depth, budget)
  defp value(<<0xDE, count::16, rest::binary>>, depth, budget), do: map(rest, count, depth, budget)
  defp value(<<0xDF, count::32, rest::binary>>, depth, budget), do: map(rest, count, depth, budget)
  defp value(<<0xD4, type::signed, rest::binary>>, depth, budget), do: ext(type, rest, 1, depth, budget)
  defp value(<<0xD5, type::signed, rest::binary>>, depth, budget), do: ext(type, rest, 2, depth, budget)
  defp value(<<0xD6, type::signed, rest::binary>>, depth, budget), do: ext(type, rest, 4, depth, budget)
  defp value(<<0xD7, type::signed, rest::binary>>, depth, budget), do: ext(type, rest, 8, depth, budget)
  defp value(<<0xD8, type::signed, rest::binary>>, depth, budget), do: ext(type, rest, 16, depth, budget)
  defp value(<<0xC7, n, type::signed, rest::binary>>, depth, budget), do: ext(type, rest, n, depth, budget)

  defp value(<<0xC8, n::16, type::signed, rest::binary>>, depth, budget),
    do: ext(type, rest, n, depth, budget)

  defp value(<<0xC9, n::32, type::signed, rest::binary>>, depth, budget),
    do: ext(type, rest, n, depth, budget)

  defp value(<<0xC1, _::binary>>, _depth, _budget),
    do: refuse(:value_reserved_byte, "a payload contains the byte 0xC1")

  defp value(_incomplete, _depth, _budget), do: truncated()

  defp text(rest, size) do
    case rest do
      <<text::binary-size(size), rest::binary>> ->
        if String.valid?(text), do: {text, rest}, else: refuse(:value_bad_utf8, "a string is not UTF-8")

      _ ->
        truncated()
    end
  end

  defp bytes(rest, size) do
    case rest do
      <<data::binary-size(size), rest::binary>> -> {Binary.new(data), rest}
      _ -> truncated()
    end
  end

  # The BEAM's floats are finite; the others do not match the first two clauses.
  defp float(<<float::float-64>>), do: float
  defp float(<<float::float-32>>), do: float
  defp float(<<0::1, 0x7FF::11, 0::52>>), do: :infinity
  defp float(<<1::1, 0x7FF::11, 0::52>>), do: :neg_infinity
  defp float(<<0::1, 0xFF::8, 0::23>>), do: :infinity
  defp float(<<1::1, 0xFF::8, 0::23>>), do: :neg_infinity
  defp float(_not_a_number), do: :nan

  defp array(rest, count, depth, budget) do
    open(rest, count, depth, budget)
    array(rest, count, depth + 1, budget, [])
  end

  defp array(rest, 0, _depth, _budget, members), do: {:lists.reverse(members), rest}

  defp array(rest, missing, depth, budget, members) do
    {member, rest} = value(rest, depth, budget)
    array(rest, missing - 1, depth, budget, [member | members])
  end

  defp map(rest, count, depth, budget) do
    open(rest, 2 * count, depth, budget)
    map(rest, count, depth + 1, budget, [], count)
  end

  defp map(rest, 0, _depth, _budget, pairs, count) do
    map = :maps.from_list(pairs)

    if map_size(map) == count,
      do: {map, rest},
      else: refuse(:value_duplicate_key, "a map has the same key twice")
  end

  defp map(rest, missing, depth, budget, pairs, count) do
    {key, rest} = key(rest)
    {member, rest} = value(rest, depth, budget)
    map(rest, missing - 1, depth, budget, [{key, member} | pairs], count)
  end

  defp key(<<0b101::3, size::5, rest::binary>>), do: text(rest, size)
  defp key(<<0xD9, size, rest::binary>>), do: text(rest, size)
  defp key(<<0xDA, size::16, rest::binary>>), do: text(rest, size)
  defp key(<<0xDB, size::32, rest::binary>>), do: text(rest, size)
  defp key(<<byte, _::binary>>) when byte not in [0xD9, 0xDA, 0xDB], do: bad_key(byte)
  defp key(_incomplete), do: truncated()

  defp bad_key(0xC1), do: refuse(:value_reserved_byte, "a payload contains the byte 0xC1")
  defp bad_key(_byte), do: refuse(:value_bad_key, "a map has a key that is no string")

  # Before memory is spent: no container can have more items than bytes are left.
  defp open(rest, items, depth, budget) do
    if depth >= @max_depth,
      do: refuse(:value_too_deep, "a payload is nested more than #{@max_depth} deep")

    spend(budget, items)
    if items > byte_size(rest), do: truncated()
  end

  defp spend(nil, _items), do: :ok

  defp spend(budget, items) do
    :counters.add(budget, 1, items)

    if :counters.get(budget, 1) > @max_items,
      do: refuse(:value_too_many_items, "a payload has more than #{@max_items} items")
  end

  # The types whose content is MessagePack themselves.
  defp ext(type, rest, size, depth, budget) when type in [3, 5] do
    case rest do
      <<data::binary-size(size), rest::binary>> ->
        {Extension.from_parts(type, inside(data, depth, budget)), rest}

      _ ->
        truncated()
    end
  end

  defp ext(type, rest, size, _depth, _budget) when type in [-1, 1, 2, 4] do
    case rest do
      <<data::binary-size(size), rest::binary>> -> {Extension.from_bytes(type, data), rest}
      _ -> truncated()
    end
  end

  defp ext(type, _rest, _size, _depth, _budget) do
    refuse(:value_unknown_extension, "extension type #{type} is not in this protocol")
  end

  defp inside(data, depth, budget) do
    spend(budget, 1)

    case value(data, depth, budget) do
      {value, <<>>} -> value
      _ -> refuse(:value_bad_extension, "an extension's content has bytes after its value")
    end
  end

  defp truncated, do: refuse(:value_truncated, "a payload ends inside a value")

  @spec refuse(DSPex.Error.type(), String.t()) :: no_return()
  defp refuse(type, message), do: throw({:refused, type, message})
end
