defmodule DSPex.Signature do
  @moduledoc """
  What goes into a program and what comes out.

  As a string in DSPy's form, checked by the server:

      iex> {:ok, signature} = DSPex.Signature.new("question: str -> answer: str")
      iex> DSPex.Signature.to_wire(signature)
      "question: str -> answer: str"

  As inputs and outputs, checked here:

      iex> {:ok, signature} =
      ...>   DSPex.Signature.new(
      ...>     inputs: [question: :string],
      ...>     outputs: [answer: :string, score: {:float, ge: 0, le: 1, desc: "how sure"}],
      ...>     instructions: "Answer in one word."
      ...>   )
      iex> DSPex.Signature.to_wire(signature)["outputs"]
      [
        %{"name" => "answer", "type" => "str"},
        %{"name" => "score", "type" => "float", "ge" => 0, "le" => 1, "desc" => "how sure"}
      ]

  Or as a module, checked when it is compiled, to be used wherever a signature is wanted:

      defmodule MyApp.Answer do
        use DSPex.Signature, instructions: "Answer in one word."
        signature [question: :string], answer: :string, score: {:float, range: 0..1}
      end

      DSPex.predict(MyApp.DSPex, {"Predict", MyApp.Answer}, %{question: "…"})

  ## Types

  `:string :integer :float :boolean :binary :date :datetime :time :duration :uuid :decimal :any
  :map :list :image :audio :file :history :code :reasoning :document :citations :tool_calls`, `{:list, type}`, `{:map, type}` (values of
  one type), `{:map, fields}` (an object), `{:object, name, fields}`, `{:enum, values}`,
  `{:union, types}`, `{:optional, type}`, a module with a signature, or a string such as
  `"list[int]"`.

  ## Options of a field

  `{type, options}` with `:desc`, `:optional`, `:default`, `:enum`; for numbers `:ge`, `:gt`,
  `:le`, `:lt`, `:multiple_of`, `:range` (`0..10`, or `{0.0, 1.0}`); for strings
  `:min_length`, `:max_length`, `:pattern`; for lists `:min_items`, `:max_items`.
  """

  alias DSPex.Error
  alias DSPex.Signature.Type

  @enforce_keys [:outputs]
  defstruct name: "Signature", instructions: nil, inputs: [], outputs: []

  @typedoc "A signature: the text of the string form, or checked fields."
  @type t :: String.t() | %__MODULE__{}

  @typedoc "Whatever `new/1` takes."
  @type source :: t() | module() | keyword() | map()

  @identifier ~r/\A[A-Za-z][A-Za-z0-9_]*\z/
  @options ~w(desc optional default enum ge gt le lt multiple_of range min_length max_length pattern min_items max_items)a
  @keys ~w(name instructions inputs outputs)a

  @doc "Builds a signature from a string, a description, or a module with one."
  @spec new(source()) :: {:ok, t()} | {:error, Error.t()}
  def new(text) when is_binary(text) do
    if String.contains?(text, "->"),
      do: {:ok, text},
      else: {:error, Error.invalid_argument("signature", "a string of the form \"inputs -> outputs\"", text)}
  end

  def new(%__MODULE__{} = signature), do: {:ok, signature}

  def new(module) when is_atom(module) and module not in [nil, true, false] do
    if Code.ensure_loaded?(module) and function_exported?(module, :__signature__, 0),
      do: {:ok, module.__signature__()},
      else: {:error, Error.invalid_argument("signature", "a module that uses DSPex.Signature", module)}
  end

  def new(description) when is_list(description) or is_map(description) do
    {:ok, build(description)}
  catch
    {:invalid, error} -> {:error, error}
  end

  def new(other) do
    {:error, Error.invalid_argument("signature", "a string, a description or a module", other)}
  end

  @doc "The same, or raises `DSPex.Error`."
  @spec new!(source()) :: t()
  def new!(source) do
    case new(source) do
      {:ok, signature} -> signature
      {:error, error} -> raise error
    end
  end

  @doc false
  # A request whose signature, where it has one, is as it goes out.
  @spec in_request(map()) :: {:ok, map()} | {:error, DSPex.Error.t()}
  def in_request(%{"signature" => source} = request) do
    with {:ok, signature} <- new(source), do: {:ok, %{request | "signature" => to_wire(signature)}}
  end

  def in_request(request), do: {:ok, request}

  @doc "What crosses the wire: the string, or a map as in docs/protocol.md section 7.4."
  @spec to_wire(t()) :: String.t() | map()
  def to_wire(text) when is_binary(text), do: text

  def to_wire(%__MODULE__{} = signature) do
    %{"name" => signature.name, "inputs" => signature.inputs, "outputs" => signature.outputs}
    |> put_unless_nil("instructions", signature.instructions)
  end

  @doc false
  # The other way round; the server has checked the fields.
  @spec from_wire(term()) :: {:ok, t()} | :error
  def from_wire(text) when is_binary(text), do: {:ok, text}

  def from_wire(%{"inputs" => inputs, "outputs" => outputs} = map) do
    signature = %__MODULE__{inputs: inputs, outputs: outputs, instructions: map["instructions"]}

    if Map.keys(map) -- ~w(name instructions inputs outputs) == [],
      do: {:ok, %{signature | name: map["name"] || "Signature"}},
      else: :error
  end

  def from_wire(_other), do: :error

  defp put_unless_nil(map, _key, nil), do: map
  defp put_unless_nil(map, key, value), do: Map.put(map, key, value)

  @doc false
  defmacro __using__(options) do
    quote do
      import DSPex.Signature, only: [signature: 1, signature: 2]
      @dspex_signature unquote(options)
    end
  end

  @doc """
  Defines the signature of the module, from the string form or from inputs and outputs.

  Mistakes are compile errors. The module gets `__signature__/0`, which `new/1` looks for.
  """
  defmacro signature(inputs, outputs) do
    quote do
      @dspex_signature DSPex.Signature.__compile__(
                         __MODULE__,
                         @dspex_signature ++ [inputs: unquote(inputs), outputs: unquote(outputs)]
                       )
      @doc "The signature that this module stands for."
      @spec __signature__() :: DSPex.Signature.t()
      def __signature__, do: @dspex_signature
    end
  end

  @doc "The string form of `signature/2`."
  defmacro signature(text) do
    quote do
      @doc "The signature that this module stands for."
      @spec __signature__() :: DSPex.Signature.t()
      @dspex_text DSPex.Signature.new!(unquote(text))
      def __signature__, do: @dspex_text
    end
  end

  @doc false
  @spec __compile__(module(), keyword()) :: t()
  def __compile__(module, description) do
    new!(Keyword.put_new(description, :name, module |> Module.split() |> List.last()))
  end

  @doc false
  # Public for `Type`: the fields of a nested object. Throws `{:invalid, error}`.
  @spec fields(term(), String.t()) :: [map()]
  def fields(fields, path) when is_list(fields) or is_map(fields) do
    {checked, _names} =
      Enum.map_reduce(fields, MapSet.new(), fn field, names ->
        checked = field(field, path)
        name = checked["name"]
        if MapSet.member?(names, name), do: invalid("#{path}.#{name}", "each name once", name)
        {checked, MapSet.put(names, name)}
      end)

    checked
  end

  def fields(other, path), do: invalid(path, "a keyword list of name and type", other)

  defp build(description) do
    description = Map.new(description)

    for {key, _} <- description, key not in @keys do
      invalid("signature.#{key}", "one of #{Enum.join(@keys, ", ")}", key)
    end

    inputs = fields(Map.get(description, :inputs, []), "inputs")
    outputs = fields(Map.get(description, :outputs, []), "outputs")
    if outputs == [], do: invalid("outputs", "at least one field", [])

    for %{"name" => name} <- inputs, name in Enum.map(outputs, & &1["name"]) do
      invalid("outputs.#{name}", "a name that is no input", name)
    end

    %__MODULE__{
      name: text(description, :name, "Signature"),
      instructions: text(description, :instructions, nil),
      inputs: inputs,
      outputs: outputs
    }
  end

  defp text(description, key, default) do
    case Map.get(description, key, default) do
      nil -> nil
      text when is_binary(text) -> text
      other -> invalid("signature.#{key}", "a string", other)
    end
  end

  defp field({name, definition}, path) when is_atom(name) or is_binary(name) do
    name = to_string(name)
    path = "#{path}.#{name}"
    unless name =~ @identifier, do: invalid(path, "an identifier that does not start with _", name)
    {type, options} = split(definition)
    Map.merge(%{"name" => name, "type" => Type.to_wire(type, path)}, options(options, path))
  end

  defp field(other, path), do: invalid(path, "name: type", other)

  # `{:float, ge: 0}` has options; `{:list, :string}` and `{:map, [a: :string]}` do not.
  defp split({type, options}) when type in [:list, :map, :enum, :union, :optional] do
    if type == :list and options?(options), do: {:list, options}, else: {{type, options}, []}
  end

  defp split({type, [_ | _] = options}), do: {type, options}
  defp split({type, options}) when options in [[], %{}], do: {type, []}
  defp split(type), do: {type, []}

  defp options?(options),
    do: Keyword.keyword?(options) and Enum.all?(options, fn {key, _} -> key in @options end)

  defp options(options, path) do
    unless Keyword.keyword?(options), do: invalid(path, "{type, options}", options)

    options
    |> Enum.flat_map(fn {key, value} -> option(key, value, path) end)
    |> Map.new()
  end

  defp option(:range, first..last, _path), do: [{"ge", min(first, last)}, {"le", max(first, last)}]

  defp option(:range, {low, high}, _path) when is_number(low) and is_number(high),
    do: [{"ge", low}, {"le", high}]

  defp option(:range, other, path), do: invalid("#{path}.range", "low..high or {low, high}", other)
  defp option(:min_items, value, path), do: option(:min_length, value, path)
  defp option(:max_items, value, path), do: option(:max_length, value, path)
  defp option(:pattern, %Regex{source: source}, _path), do: [{"pattern", source}]
  defp option(:pattern, value, path), do: check(:pattern, is_binary(value), "a string or regex", value, path)
  defp option(:desc, value, path), do: check(:desc, is_binary(value), "a string", value, path)
  defp option(:optional, value, path), do: check(:optional, is_boolean(value), "a boolean", value, path)
  defp option(:enum, value, path), do: check(:enum, match?([_ | _], value), "a list of values", value, path)
  defp option(:default, value, _path), do: [{"default", value}]

  defp option(key, value, path) when key in [:ge, :gt, :le, :lt, :multiple_of],
    do: check(key, is_number(value), "a number", value, path)

  defp option(key, value, path) when key in [:min_length, :max_length],
    do: check(key, is_integer(value) and value >= 0, "a count from 0", value, path)

  defp option(key, _value, path), do: invalid("#{path}.#{key}", "one of #{Enum.join(@options, ", ")}", key)

  defp check(key, true, _expected, value, _path), do: [{Atom.to_string(key), value}]
  defp check(key, false, expected, value, path), do: invalid("#{path}.#{key}", expected, value)

  @spec invalid(String.t(), String.t(), term()) :: no_return()
  defp invalid(field, expected, got), do: throw({:invalid, Error.invalid_argument(field, expected, got)})
end
