defmodule DSPex.Vectors do
  @moduledoc "The golden vectors of `protocol/vectors`, as Elixir values."

  alias DSPex.{Binary, Decimal, FunctionReference, Tagged, Tensor, TestJSON}

  @folder Path.expand("../../../../protocol/vectors", __DIR__)

  def folder, do: @folder

  def files, do: @folder |> Path.join("*.json") |> Path.wildcard()

  @doc "All vectors of a shape, each a map with the value still in the notation."
  def of_shape(shape) do
    for file <- files(),
        {:object, fields} = file |> File.read!() |> TestJSON.decode!(),
        {"shape", ^shape} <- fields,
        {"vectors", vectors} <- fields,
        {:object, vector} <- vectors,
        do: Map.new(vector)
  end

  @doc "The bytes of `hex` or `build`."
  def bytes(%{"hex" => hex}), do: unhex(hex)
  def bytes(%{"build" => pieces}), do: pieces |> Enum.map(&piece/1) |> IO.iodata_to_binary()

  def piece({:object, [{"repeat", hex}, {"count", count}]}), do: :binary.copy(unhex(hex), count)
  def piece({:object, [{"build", pieces}]}), do: pieces |> Enum.map(&piece/1) |> IO.iodata_to_binary()
  def piece(hex), do: unhex(hex)

  def unhex(hex), do: Base.decode16!(hex, case: :lower)

  @doc "A value from the notation of protocol/vectors/README.md."
  def value({:object, [{"$" <> kind, content}]}), do: special(kind, content)
  def value({:object, pairs}), do: Map.new(pairs, fn {key, member} -> {key, value(member)} end)
  def value(list) when is_list(list), do: Enum.map(list, &value/1)
  def value(plain), do: plain

  defp special("int", text), do: String.to_integer(text)
  defp special("float", "nan"), do: :nan
  defp special("float", "inf"), do: :infinity
  defp special("float", "-inf"), do: :neg_infinity
  defp special("float", text), do: text |> Float.parse() |> elem(0)
  defp special("bin", hex), do: Binary.new(unhex(hex))
  defp special("text", [text, count]), do: String.duplicate(text, count)
  defp special("bytes", [hex, count]), do: Binary.new(:binary.copy(unhex(hex), count))
  defp special("list", [member, count]), do: List.duplicate(value(member), count)
  defp special("map", pairs), do: Map.new(pairs, fn [key, member] -> {key, value(member)} end)
  defp special("decimal", text), do: %Decimal{text: text}
  defp special("function", name), do: %FunctionReference{name: name}
  defp special("tensor", [dtype, shape, hex]), do: %Tensor{dtype: dtype, shape: shape, data: unhex(hex)}
  defp special("tagged", [tag, content]), do: tagged(tag, value(content))

  defp special("timestamp", [seconds, nanoseconds]) do
    moment = DateTime.from_unix!(value(seconds))
    if nanoseconds == 0, do: moment, else: %{moment | microsecond: {div(nanoseconds, 1000), 6}}
  end

  # The tags that Elixir has a type for.
  defp tagged("date", text), do: Date.from_iso8601!(text)
  defp tagged("time", text), do: Time.from_iso8601!(text)
  defp tagged("datetime", text), do: NaiveDateTime.from_iso8601!(text)
  defp tagged("tuple", members), do: List.to_tuple(members)
  defp tagged("set", members), do: MapSet.new(members)
  defp tagged("pairs", pairs), do: Map.new(pairs, &List.to_tuple/1)
  defp tagged(tag, value), do: %Tagged{tag: tag, value: value}
end
