defmodule DSPex.Programs.State do
  @moduledoc """
  What a program has learned: a map of its predictors.

  Predictors have DSPy's names: `self` in a `Predict`, `predict` in a `ChainOfThought`. Of
  each there may be

  * `instructions`: a string
  * `fields`: a list with a map of `prefix` and `description` for each field of the
    signature, inputs first
  * `demos`, `train`: lists of examples, each a map or keyword list of field and value, or a
    `DSPex.Tagged` with the tag `"example"`
  * `lm`: the name of a language model, which goes before that of a call
  * `decisions`: a map; DSPy's experimental settings of decision outputs
  * `source`: a string; the implementation of a `Flex`, which has this and `lm` only

  Keys may be atoms or strings. Where a program is updated, a part that is given replaces
  the part that was there, and all others stay.

      iex> {:ok, state} = DSPex.Programs.State.to_wire(self: [demos: [[question: "Is water wet?", answer: "Yes"]]])
      iex> state
      %{"self" => %{"demos" => [%{"question" => "Is water wet?", "answer" => "Yes"}]}}
      iex> {:error, error} = DSPex.Programs.State.to_wire(self: [demo: []])
      iex> error.message
      "state.self.demo: expected one of instructions, fields, demos, train, lm, decisions, source, got an unknown key"
  """

  alias DSPex.{Error, Tagged}

  @parts ~w(instructions fields demos train lm decisions source)
  @a_map "a map or keyword list"

  @typedoc "Predictor to its parts; keys are atoms or strings."
  @type source :: map() | keyword()

  @doc """
  The state as it crosses the wire: with strings for keys, all through.

  So the same state is the same bytes in every BEAM, which is what a repeated `write_id` is
  compared by. Messages never show what an example says.
  """
  @spec to_wire(source()) :: {:ok, map()} | {:error, Error.t()}
  def to_wire(state) do
    {:ok, state |> entries("state", "#{@a_map} of predictor to its parts") |> Map.new(&predictor/1)}
  catch
    {:invalid, error} -> {:error, error}
  end

  defp predictor({name, parts}) do
    path = "state.#{name}"
    {name, parts |> entries(path, "#{@a_map} of #{Enum.join(@parts, ", ")}") |> Map.new(&part(&1, path))}
  end

  defp part({name, _value}, path) when name not in @parts do
    expected = "one of #{Enum.join(@parts, ", ")}"
    throw({:invalid, Error.in_words("#{path}.#{name}", expected, "an unknown key")})
  end

  defp part({name, value}, path), do: {name, value(name, value, "#{path}.#{name}")}

  defp value(name, value, path) when name in ["demos", "train"],
    do: value |> list(path, "a list of examples") |> each(path, &example/2)

  defp value("fields", value, path) do
    expected = "a list of maps of prefix and description, one for each field"
    value |> list(path, expected) |> each(path, &field/2)
  end

  defp value("decisions", value, path), do: value |> entries(path, @a_map) |> Map.new() |> plain()

  defp value(_name, value, path), do: if(is_binary(value), do: value, else: invalid(path, "a string", value))

  defp example(%Tagged{tag: "example"} = example, _path), do: example

  defp example(example, path),
    do: example |> entries(path, "#{@a_map} of field and value") |> Map.new() |> plain()

  defp field(field, path) do
    words = field |> entries(path, "#{@a_map} of prefix and description") |> Map.new()

    if Enum.sort(Map.keys(words)) == ["description", "prefix"] and Enum.all?(Map.values(words), &is_binary/1),
      do: words,
      else: invalid(path, "prefix and description, both strings", field)
  end

  defp list(value, path, expected), do: if(is_list(value), do: value, else: invalid(path, expected, value))

  defp each(list, path, check) do
    for {item, number} <- Enum.with_index(list), do: check.(item, "#{path}[#{number}]")
  end

  # Pairs with strings for names, each once.
  defp entries(value, path, expected) do
    unless named?(value), do: invalid(path, expected, value)
    entries = Enum.map(value, fn {key, it} -> {key(key), it} end)
    names = Enum.map(entries, &elem(&1, 0))
    unless names == Enum.uniq(names), do: invalid(path, "each name once", value)
    entries
  end

  defp named?(map) when is_map(map) and not is_struct(map),
    do: map |> Map.keys() |> Enum.all?(&(is_atom(&1) or is_binary(&1)))

  defp named?(other), do: Keyword.keyword?(other)

  # Deep: keyword lists are maps on the wire. What no string stands for is left to the encoder.
  defp plain(map) when is_map(map) and not is_struct(map) do
    text = Map.new(map, fn {key, value} -> {key(key), plain(value)} end)
    if map_size(text) == map_size(map), do: text, else: map
  end

  defp plain([{key, _} | _] = pairs) when is_atom(key) do
    if Keyword.keyword?(pairs), do: pairs |> Map.new() |> plain(), else: pairs
  end

  defp plain(list) when is_list(list), do: Enum.map(list, &plain/1)
  defp plain(value), do: value

  defp key(key) when is_atom(key), do: Atom.to_string(key)
  defp key(key), do: key

  @spec invalid(String.t(), String.t(), term()) :: no_return()
  defp invalid(path, expected, got), do: throw({:invalid, Error.unshown(path, expected, got)})
end
