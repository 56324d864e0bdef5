defmodule DSPex.Spec do
  @moduledoc """
  What a program is made of: a DSPy module, a signature, and the module's options.

  Tools and rewards are options that name functions of the host, which are given to `DSPex`
  as `functions:`; a module around another has it as the option `module`, and no signature:

      {:react, "question -> answer",
       tools: [[name: "weather", desc: "Tells the weather.", args: %{city: %{type: "string"}}]]}

      {:best_of_n, nil, module: {:predict, "question -> answer"}, N: 3, reward_fn: "score", threshold: 1.0}

  Modules that run code which a model writes (`:program_of_thought`, `:code_act`, `:rlm`, `:flex`) need a sandbox
  on the server's machine, else they fail with `:not_permitted` (`docs/code.md`); tools are as above:

      {:program_of_thought, "question -> answer: int"}

  A retriever is `{:retrieve, nil, function: "find", k: 5}`: the function is called with the
  `query` and `k`, and answers with a list of texts.

  The examples that are nearest to some inputs are found by `:knn`, whose signature is that of the
  examples. Its prediction has them as `examples`, each a map of its fields, the nearest first.
  Vectors come from the `vectorizer`: the name of a language model that makes them, or a function of
  the host as `%{function: "embed"}`, which is called with `texts` and answers with a list of numbers
  for each, or a `DSPex.Tensor`:

      {:knn, "question -> answer", k: 3, vectorizer: "vectors",
       trainset: [%{question: "Why?", answer: "So."}, %{question: "How?", answer: "Thus."}]}

  A module of your own is `Host`: its `forward` is a function of the host, and may call the
  `parts`; see `DSPex.predict_part/4`:

      {:host, "question -> answer", forward: "answer", parts: %{draft: {:predict, "question -> answer"}}}

  ## Pipelines

  A pipeline is a module made of others, its `nodes`, whose fields feed one another:

      {:pipeline, "question -> answer, title",
       nodes: [
         search: {:chain_of_thought, "question -> facts: list[str]"},
         name: {:predict, "question -> title"},
         write: {:predict, "context: list[str], words: int -> text"}
       ],
       wires: [write: [context: "search.facts", words: {:value, 50}]],
       outputs: [answer: "write.text"]}

  An input of a node is fed by what has the same name: an input of the pipeline or an output of
  another node. `wires` say it where names differ, or where several have that name: the name of an
  input, `"node.field"`, or `{:value, constant}`; `outputs` likewise say from which node's field an
  output of the pipeline comes. What does not fit together is refused when the program is made, or
  at the prediction where there is only a spec.

  Nodes that need nothing of each other run at once. When one fails the others are stopped, and the
  error says in `details["node"]` which it was.

  A part may also be a program that is stored, as a `DSPex.Program`. It is copied in, with what it
  has learned, when the pipeline is stored; later versions of it change nothing there:

      DSPex.create(dspex, {:pipeline, "question -> ok: bool",
        nodes: [ask: DSPex.Program.new("qa", tag: "stable"), check: {:predict, "answer -> ok: bool"}]})

      iex> wires = [write: [context: "search.facts", words: {:value, 50}]]
      iex> spec = DSPex.Spec.new!(:pipeline, "a -> b", nodes: [write: DSPex.Program.new("w", 2)], wires: wires)
      iex> spec.options
      %{
        "nodes" => %{"write" => %{"program" => "w", "version" => 2}},
        "wires" => %{"write" => %{"context" => "search.facts", "words" => %{"value" => 50}}}
      }

  ## As structs

      iex> {:ok, spec} = DSPex.Spec.new(:chain_of_thought, "question -> answer")
      iex> DSPex.Spec.to_wire(spec)
      %{"module" => "ChainOfThought", "signature" => "question -> answer", "options" => %{}}
      iex> {:error, error} = DSPex.Spec.new(3, "question -> answer")
      iex> error.message
      "module: expected the name of a DSPy module, such as \\"Predict\\" or :chain_of_thought, got 3"
  """

  alias DSPex.{Choices, Error, Parts, Signature}

  @sources "a DSPex.Spec, {module, signature}, {module, signature, options} or a map of these"

  @chosen [:adapter, :on_violation]
  @keys [:module, :signature, :options | @chosen]

  @enforce_keys [:module, :signature]
  defstruct [:module, :signature, :adapter, :on_violation, options: %{}]

  @typedoc "A module around another, such as `BestOfN`, has that one's signature and none of its own."
  @type t :: %__MODULE__{
          module: String.t(),
          signature: Signature.t() | nil,
          options: map(),
          adapter: String.t() | map() | nil,
          on_violation: String.t() | map() | nil
        }

  @typedoc "Whatever `from/1` takes."
  @type source ::
          t()
          | {module :: String.t() | atom(), Signature.source()}
          | {module :: String.t() | atom(), Signature.source() | nil, options :: map() | keyword()}
          | map()
          | keyword()

  @doc """
  Builds a spec; the signature is whatever `DSPex.Signature.new/1` takes, or nil for a module
  around another.
  """
  @spec new(String.t() | atom(), Signature.source() | nil, map() | keyword()) ::
          {:ok, t()} | {:error, Error.t()}
  def new(module, signature, options \\ %{}) do
    with {:ok, module} <- module_name(module),
         {:ok, signature} <- signature(signature),
         {:ok, options} <- options(options) do
      {:ok, %__MODULE__{module: module, signature: signature, options: options}}
    end
  end

  @doc "The same, or raises `DSPex.Error`."
  @spec new!(String.t() | atom(), Signature.source() | nil, map() | keyword()) :: t()
  def new!(module, signature, options \\ %{}) do
    case new(module, signature, options) do
      {:ok, spec} -> spec
      {:error, error} -> raise error
    end
  end

  @doc """
  A spec from `{module, signature}`, `{module, signature, options}` or from a map or keyword list
  of module, signature, options, and maybe `adapter` and `on_violation`, as in `DSPex.Choices`.
  """
  @spec from(source()) :: {:ok, t()} | {:error, Error.t()}
  def from(source), do: from(source, "spec", @sources)

  @doc false
  # The same where a program is wanted, which may be a spec.
  @spec from_program(term()) :: {:ok, t()} | {:error, Error.t()}
  def from_program(source),
    do: from(source, "program", "a DSPex.Program, an id, a DSPex.Session, " <> @sources)

  @doc false
  # The same at another place of a spec, for messages.
  @spec from(term(), String.t(), String.t()) :: {:ok, t()} | {:error, Error.t()}
  def from(%__MODULE__{} = spec, _field, _expected), do: {:ok, spec}
  def from({module, signature}, _field, _expected), do: new(module, signature)
  def from({module, signature, options}, _field, _expected), do: new(module, signature, options)

  def from(%{module: module, signature: signature} = map, field, _expected) do
    case Map.keys(map) -- @keys do
      [] ->
        with {:ok, spec} <- new(module, signature, Map.get(map, :options, %{})),
             do: choosing(spec, Map.take(map, @chosen), field)

      [key | _] ->
        {:error, Error.invalid_argument("#{field}.#{key}", "one of #{Enum.join(@keys, ", ")}", key)}
    end
  end

  def from([_ | _] = list, field, expected) do
    if Keyword.keyword?(list) and list[:module] && list[:signature],
      do: list |> Map.new() |> from(field, expected),
      else: {:error, Error.invalid_argument(field, expected, list)}
  end

  def from(other, field, expected), do: {:error, Error.invalid_argument(field, expected, other)}

  @doc false
  # With what is chosen beside the module; what is not stays as it was.
  @spec choosing(t(), map(), String.t()) :: {:ok, t()} | {:error, Error.t()}
  def choosing(spec, chosen, path) do
    Enum.reduce_while(chosen, {:ok, spec}, fn {key, value}, {:ok, spec} ->
      case Choices.rule(key, value) do
        {true, _expected} -> {:cont, {:ok, Map.put(spec, key, Choices.to_wire(%{key => value})["#{key}"])}}
        {false, expected} -> {:halt, {:error, Error.invalid_argument("#{path}.#{key}", expected, value)}}
      end
    end)
  end

  @doc "The map that crosses the wire."
  @spec to_wire(t()) :: map()
  def to_wire(%__MODULE__{} = spec) do
    signature = spec.signature && Signature.to_wire(spec.signature)
    chosen = for key <- @chosen, value = Map.fetch!(spec, key), into: %{}, do: {Atom.to_string(key), value}
    Map.merge(%{"module" => spec.module, "signature" => signature, "options" => spec.options}, chosen)
  end

  @doc false
  # What is stored of a spec; as it is where this version does not know its form.
  @spec from_wire(term()) :: t() | term()
  def from_wire(%{"module" => module, "signature" => signature} = spec) do
    known? = Map.keys(spec) -- Enum.map(@keys, &Atom.to_string/1) == []

    case {Signature.from_wire(signature), spec} do
      {{:ok, signature}, %{"options" => %{} = options}} when known? ->
        %__MODULE__{
          module: module,
          signature: signature,
          options: options,
          adapter: spec["adapter"],
          on_violation: spec["on_violation"]
        }

      _ ->
        spec
    end
  end

  def from_wire(other), do: other

  @doc false
  # As DSPy has it: :chain_of_thought is ChainOfThought, :react is ReAct.
  @spec module_name(term()) :: {:ok, String.t()} | {:error, Error.t()}
  def module_name(name) when is_binary(name) and name != "", do: {:ok, name}

  def module_name(name) when is_atom(name) and name not in [nil, true, false],
    do:
      {:ok,
       name |> Atom.to_string() |> String.replace_prefix("Elixir.", "") |> Macro.camelize() |> as_in_dspy()}

  def module_name(other) do
    expected = ~s(the name of a DSPy module, such as "Predict" or :chain_of_thought)
    {:error, Error.invalid_argument("module", expected, other)}
  end

  # Which no rule makes of an atom.
  defp as_in_dspy("React" <> version), do: "ReAct" <> version
  defp as_in_dspy("Rlm"), do: "RLM"
  defp as_in_dspy("Knn"), do: "KNN"
  defp as_in_dspy(name), do: name

  defp signature(nil), do: {:ok, nil}
  defp signature(source), do: Signature.new(source)

  defp options(options) do
    if is_map(options) or Keyword.keyword?(options),
      do: Parts.to_wire(options),
      else: {:error, Error.invalid_argument("options", "a map or keyword list", options)}
  end
end
