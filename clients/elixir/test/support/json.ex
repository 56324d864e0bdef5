defmodule DSPex.TestJSON do
  @moduledoc """
  Reads the JSON of the golden vectors: no numbers but integers, few escapes.

  Maps become lists of pairs in the order of the text, `{:object, pairs}`.
  """

  def decode!(text) do
    {value, rest} = value(space(text))
    "" = space(rest)
    value
  end

  def to_map({:object, pairs}), do: Map.new(pairs, fn {key, value} -> {key, to_map(value)} end)
  def to_map(list) when is_list(list), do: Enum.map(list, &to_map/1)
  def to_map(value), do: value

  defp value("null" <> rest), do: {nil, rest}
  defp value("true" <> rest), do: {true, rest}
  defp value("false" <> rest), do: {false, rest}
  defp value("\"" <> rest), do: string(rest, [])
  defp value("[" <> rest), do: list(space(rest), [])
  defp value("{" <> rest), do: object(space(rest), [])
  defp value(rest), do: Integer.parse(rest)

  defp list("]" <> rest, members), do: {Enum.reverse(members), rest}
  defp list("," <> rest, members), do: list(space(rest), members)

  defp list(rest, members) do
    {member, rest} = value(rest)
    list(space(rest), [member | members])
  end

  defp object("}" <> rest, pairs), do: {{:object, Enum.reverse(pairs)}, rest}
  defp object("," <> rest, pairs), do: object(space(rest), pairs)

  defp object("\"" <> rest, pairs) do
    {key, rest} = string(rest, [])
    ":" <> rest = space(rest)
    {member, rest} = value(space(rest))
    object(space(rest), [{key, member} | pairs])
  end

  defp string("\"" <> rest, parts), do: {parts |> Enum.reverse() |> IO.iodata_to_binary(), rest}
  defp string("\\n" <> rest, parts), do: string(rest, ["\n" | parts])

  defp string("\\u" <> <<high::binary-4, "\\u", low::binary-4, rest::binary>>, parts)
       when binary_part(high, 0, 1) in ["d", "D"] and binary_part(high, 1, 1) not in ~w(0 1 2 3 4 5 6 7) do
    <<code::utf16>> = Base.decode16!(high <> low, case: :mixed)
    string(rest, [<<code::utf8>> | parts])
  end

  defp string("\\u" <> <<code::binary-4, rest::binary>>, parts) do
    string(rest, [<<String.to_integer(code, 16)::utf8>> | parts])
  end

  defp string("\\" <> <<character, rest::binary>>, parts) when character in [?", ?\\],
    do: string(rest, [character | parts])

  defp string(<<character, rest::binary>>, parts), do: string(rest, [character | parts])

  defp space(<<character, rest::binary>>) when character in [?\s, ?\n, ?\t, ?\r], do: space(rest)
  defp space(rest), do: rest
end
