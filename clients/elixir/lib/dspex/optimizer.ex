defmodule DSPex.Optimizer do
  @moduledoc """
  One of DSPy's optimizers with its options, as `DSPex.Optimizers` takes it.

      iex> DSPex.Optimizer.new(:MIPROv2, [auto: nil, num_candidates: 4], num_trials: 6)
      %DSPex.Optimizer{
        optimizer: "MIPROv2",
        options: %{"auto" => nil, "num_candidates" => 4},
        compile: %{"num_trials" => 6}
      }

  `options` are those of its constructor, `compile` those of its `compile`, by DSPy's names;
  `DSPex.Optimizers.describe/3` tells them. Options that are language models are names of configured ones.
  Steps of a `BetterTogether` are optimizers too:

      DSPex.Optimizer.new(:BetterTogether,
        [optimizers: [demos: {:BootstrapFewShotWithRandomSearch, [num_candidate_programs: 8]}, words: :COPRO]],
        strategy: "demos -> words"
      )
  """

  alias DSPex.Error

  @sources "a DSPex.Optimizer, the name of an optimizer, {name, options}, or {name, options, compile}"

  @enforce_keys [:optimizer]
  defstruct [:optimizer, options: %{}, compile: %{}]

  @type t :: %__MODULE__{
          optimizer: String.t(),
          options: %{optional(String.t()) => term()},
          compile: %{optional(String.t()) => term()}
        }

  @typedoc "Whatever stands for an optimizer."
  @type source ::
          t()
          | String.t()
          | atom()
          | {String.t() | atom(), map() | keyword()}
          | {String.t() | atom(), map() | keyword(), map() | keyword()}

  @doc "An optimizer by its name. Raises `DSPex.Error` for what is no name and no options."
  @spec new(String.t() | atom(), map() | keyword(), map() | keyword()) :: t()
  def new(name, options \\ [], compile \\ []) do
    case from({name, options, compile}) do
      {:ok, optimizer} -> optimizer
      {:error, error} -> raise error
    end
  end

  @doc false
  @spec from(term(), String.t()) :: {:ok, t()} | {:error, Error.t()}
  def from(source, path \\ "optimizer")
  def from(%__MODULE__{} = optimizer, _path), do: {:ok, optimizer}
  def from({name, options}, path), do: from({name, options, []}, path)

  def from({name, options, compile} = source, path) do
    with true <- name?(name) and options?(options) and options?(compile),
         {:ok, options} <- with_steps(Map.new(options, &option/1), path) do
      {:ok, %__MODULE__{optimizer: to_string(name), options: options, compile: Map.new(compile, &option/1)}}
    else
      false -> {:error, Error.invalid_argument(path, @sources, source)}
      error -> error
    end
  end

  def from(name, path) do
    if name?(name), do: from({name, []}, path), else: {:error, Error.invalid_argument(path, @sources, name)}
  end

  defp with_steps(%{"optimizers" => steps} = options, path) do
    if options?(steps) do
      steps
      |> Enum.reduce_while({:ok, %{}}, fn {name, source}, {:ok, read} ->
        case from(source, "#{path}.options.optimizers.#{name}") do
          {:ok, step} -> {:cont, {:ok, Map.put(read, to_string(name), to_wire(step))}}
          error -> {:halt, error}
        end
      end)
      |> case do
        {:ok, steps} -> {:ok, %{options | "optimizers" => steps}}
        error -> error
      end
    else
      {:error, Error.invalid_argument("#{path}.options.optimizers", "optimizers by name", steps)}
    end
  end

  defp with_steps(options, _path), do: {:ok, options}

  @doc false
  @spec to_wire(t()) :: map()
  def to_wire(%__MODULE__{} = optimizer) do
    %{"optimizer" => optimizer.optimizer, "options" => optimizer.options, "compile" => optimizer.compile}
  end

  defp option({key, value}), do: {to_string(key), DSPex.Options.plain(value)}

  defp name?(name), do: (is_atom(name) and name not in [nil, true, false]) or (is_binary(name) and name != "")
  defp options?(options), do: Keyword.keyword?(options) or (is_map(options) and not is_struct(options))
end
