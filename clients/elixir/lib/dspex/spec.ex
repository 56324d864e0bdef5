defmodule DSPex.Spec do
  @moduledoc """
  What a program is made of: a DSPy module, a signature, and the module's options.

      iex> {:ok, spec} = DSPex.Spec.new(:chain_of_thought, "question -> answer")
      iex> DSPex.Spec.to_wire(spec)
      %{"module" => "ChainOfThought", "signature" => "question -> answer", "options" => %{}}
      iex> {:error, error} = DSPex.Spec.new(3, "question -> answer")
      iex> error.message
      "module: expected the name of a DSPy module, such as \\"Predict\\" or :chain_of_thought, got 3"
  """

  alias DSPex.{Error, Options, Signature}

  @enforce_keys [:module, :signature]
  defstruct [:module, :signature, options: %{}]

  @type t :: %__MODULE__{module: String.t(), signature: Signature.t(), options: map()}

  @typedoc "Whatever `from/1` takes."
  @type source ::
          t()
          | {module :: String.t() | atom(), Signature.source()}
          | {module :: String.t() | atom(), Signature.source(), options :: map() | keyword()}
          | map()
          | keyword()

  @doc "Builds a spec; the signature is whatever `DSPex.Signature.new/1` takes."
  @spec new(String.t() | atom(), Signature.source(), map() | keyword()) :: {:ok, t()} | {:error, Error.t()}
  def new(module, signature, options \\ %{}) do
    with {:ok, module} <- module(module),
         {:ok, signature} <- Signature.new(signature),
         {:ok, options} <- options(options) do
      {:ok, %__MODULE__{module: module, signature: signature, options: options}}
    end
  end

  @doc "The same, or raises `DSPex.Error`."
  @spec new!(String.t() | atom(), Signature.source(), map() | keyword()) :: t()
  def new!(module, signature, options \\ %{}) do
    case new(module, signature, options) do
      {:ok, spec} -> spec
      {:error, error} -> raise error
    end
  end

  @doc "A spec from `{module, signature}`, `{module, signature, options}` or from a map or keyword list of module, signature, options."
  @spec from(source()) :: {:ok, t()} | {:error, Error.t()}
  def from(%__MODULE__{} = spec), do: {:ok, spec}
  def from({module, signature}), do: new(module, signature)
  def from({module, signature, options}), do: new(module, signature, options)

  def from(%{module: module, signature: signature} = map) do
    case Map.keys(map) -- [:module, :signature, :options] do
      [] ->
        new(module, signature, Map.get(map, :options, %{}))

      [key | _] ->
        {:error, Error.invalid_argument("program.#{key}", "one of module, signature, options", key)}
    end
  end

  def from([_ | _] = list) do
    if Keyword.keyword?(list) and list[:module] && list[:signature],
      do: from(Map.new(list)),
      else: unknown(list)
  end

  def from(other), do: unknown(other)

  defp unknown(other) do
    expected =
      "a DSPex.Program, an id, a DSPex.Spec, {module, signature}, {module, signature, options} or a map of these"

    {:error, Error.invalid_argument("program", expected, other)}
  end

  @doc "The map that crosses the wire."
  @spec to_wire(t()) :: map()
  def to_wire(%__MODULE__{} = spec) do
    %{"module" => spec.module, "signature" => Signature.to_wire(spec.signature), "options" => spec.options}
  end

  defp module(name) when is_binary(name) and name != "", do: {:ok, name}

  defp module(name) when is_atom(name) and name not in [nil, true, false],
    do: {:ok, name |> Atom.to_string() |> String.replace_prefix("Elixir.", "") |> Macro.camelize()}

  defp module(other) do
    expected = ~s(the name of a DSPy module, such as "Predict" or :chain_of_thought)
    {:error, Error.invalid_argument("module", expected, other)}
  end

  defp options(options) do
    if is_map(options) or Keyword.keyword?(options),
      do: {:ok, Map.new(options, fn {key, value} -> {to_string(key), Options.plain(value)} end)},
      else: {:error, Error.invalid_argument("options", "a map or keyword list", options)}
  end
end
