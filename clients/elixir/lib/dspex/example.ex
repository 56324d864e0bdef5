defmodule DSPex.Example do
  @moduledoc """
  Examples: fields, and which of them are inputs; for demos, training sets and evaluation.

      iex> example = DSPex.Example.new(%{question: "Why?", answer: "So."}, inputs: [:question])
      iex> {DSPex.Example.inputs(example), DSPex.Example.labels(example)}
      {%{"question" => "Why?"}, %{"answer" => "So."}}
      iex> DSPex.Example.fields(example)["answer"]
      "So."
  """

  alias DSPex.{Error, Tagged}

  @doc """
  An example of these fields; `inputs:` names those that are inputs.

  Raises `DSPex.Error` for an input that is no field.
  """
  @spec new(map() | keyword(), keyword()) :: Tagged.t()
  def new(fields, options \\ []) do
    fields = Map.new(fields, fn {name, value} -> {to_string(name), value} end)
    %Tagged{tag: "example", value: Map.put(named(options, fields), "fields", fields)}
  end

  defp named(options, fields) do
    case options do
      [] -> %{}
      [inputs: names] when is_list(names) -> %{"inputs" => Enum.map(names, &name(to_string(&1), fields))}
      other -> raise Error.invalid_argument("options", "inputs: and a list of names", other)
    end
  end

  defp name(name, fields) do
    if is_map_key(fields, name),
      do: name,
      else: raise(Error.invalid_argument("inputs", "names of fields of the example", name))
  end

  @doc "All fields."
  @spec fields(Tagged.t()) :: %{optional(String.t()) => term()}
  def fields(%Tagged{tag: "example", value: %{"fields" => fields}}), do: fields

  @doc "The fields that are inputs; none where nobody told."
  @spec inputs(Tagged.t()) :: %{optional(String.t()) => term()}
  def inputs(%Tagged{tag: "example", value: value} = example),
    do: Map.take(fields(example), value["inputs"] || [])

  @doc "The other fields."
  @spec labels(Tagged.t()) :: %{optional(String.t()) => term()}
  def labels(%Tagged{tag: "example", value: value} = example),
    do: Map.drop(fields(example), value["inputs"] || [])
end
