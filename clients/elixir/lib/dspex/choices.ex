defmodule DSPex.Choices do
  @moduledoc """
  What a program or a call chooses beside its module: an adapter, and what a violation leads to.

  ## Adapters

  An adapter writes prompts and reads answers. It is a name, such as `:chat` (the default),
  `:json`, `:xml`, `:two_step` or `:baml`, or a name with options:

      DSPex.predict(dspex, program, inputs, adapter: :json)
      DSPex.predict(dspex, program, inputs, adapter: {:json, use_native_function_calling: false})
      DSPex.create(dspex, spec, adapter: {:two_step, extraction_model: "small"})

  `DSPex.describe/2` lists under `"adapters"` those that the server's DSPy has, each with its
  options and whether it `"streams"`. A call's adapter goes in the place of its program's.

  ## Violations

  `on_violation:` says what an answer leads to that does not fit the signature, be it a
  constraint, a type or a missing field: `:fail`, the default, which is a
  `:prediction_failed` with `details["field"]` and `details["expected"]`, or `{:retry, n}`, with
  `n` from 1 to 8. Then the model is told what was wrong and asked again, at most `n` times for
  each answer; `usage` counts all of it. In a stream a `DSPex.Status` with the event `"retry"`
  says that the tokens of that predictor come again from their beginning.

      iex> DSPex.Choices.adapter({:two_step, extraction_model: "small"})
      {:ok, %{"name" => "two_step", "options" => %{"extraction_model" => "small"}}}
      iex> DSPex.Choices.on_violation({:retry, 2})
      {:ok, %{"retry" => 2}}
      iex> DSPex.Choices.on_violation(:warn)
      :error
  """

  alias DSPex.Options

  @typedoc "A name, alone or with the adapter's options."
  @type adapter :: atom() | String.t() | {atom() | String.t(), keyword() | map()} | map()

  @type on_violation :: :fail | {:retry, 1..8} | keyword() | map() | String.t()

  @doc "The adapter as it crosses the wire; the server says which there are."
  @spec adapter(term()) :: {:ok, String.t() | map()} | :error
  def adapter(%{"name" => _} = on_the_wire), do: {:ok, on_the_wire}

  def adapter({name, options}) do
    with {:ok, name} <- name(name), {:ok, options} <- options(options) do
      {:ok, %{"name" => name, "options" => options}}
    end
  end

  def adapter(name), do: name(name)

  @doc "What a violation leads to, as it crosses the wire."
  @spec on_violation(term()) :: {:ok, String.t() | map()} | :error
  def on_violation(fail) when fail in [:fail, "fail"], do: {:ok, "fail"}
  def on_violation({:retry, n}) when n in 1..8, do: {:ok, %{"retry" => n}}
  def on_violation([{:retry, n}]), do: on_violation({:retry, n})
  def on_violation(%{"retry" => n} = map) when map_size(map) == 1, do: on_violation({:retry, n})
  def on_violation(%{retry: n} = map) when map_size(map) == 1, do: on_violation({:retry, n})
  def on_violation(_other), do: :error

  @doc false
  # Both in words, for messages.
  @spec rule(:adapter | :on_violation, term()) :: {boolean(), String.t()}
  def rule(:adapter, value),
    do: {adapter(value) != :error, "an adapter's name, such as :json, or {name, options}"}

  def rule(:on_violation, value),
    do: {on_violation(value) != :error, ":fail, or {:retry, n} with n from 1 to 8"}

  @doc false
  # Those of checked options that are there, as they cross the wire.
  @spec to_wire(map()) :: map()
  def to_wire(options) do
    readers = [adapter: &adapter/1, lm: &name/1, on_violation: &on_violation/1, retriever: &name/1]

    for {key, read} <- readers,
        value = options[key],
        {:ok, wire} = read.(value),
        into: %{},
        do: {Atom.to_string(key), wire}
  end

  defp name(name) when is_binary(name) and byte_size(name) in 1..128, do: {:ok, name}
  defp name(name) when is_atom(name) and name not in [nil, true, false], do: {:ok, Atom.to_string(name)}
  defp name(_other), do: :error

  defp options(options) when is_map(options) and not is_struct(options),
    do: {:ok, Map.new(options, &option/1)}

  defp options(options),
    do: if(Keyword.keyword?(options), do: {:ok, Map.new(options, &option/1)}, else: :error)

  defp option({key, value}), do: {to_string(key), value |> Options.plain() |> text()}

  defp text(name) when is_atom(name) and name not in [nil, true, false], do: Atom.to_string(name)
  defp text(names) when is_list(names), do: Enum.map(names, &text/1)
  defp text(value), do: value
end
