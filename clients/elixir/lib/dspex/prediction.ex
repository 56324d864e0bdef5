defmodule DSPex.Prediction do
  @moduledoc """
  A whole prediction: the output fields, and what they cost.

      {:ok, prediction} = DSPex.predict(dspex, program, %{question: "Why is the sky blue?"})
      prediction.answer
      prediction[:answer]
      prediction["answer"]
      prediction.fields["answer"]

  All four give the same. The first works because the output fields are also put into the
  struct under atoms, next to its own keys:

  * `fields`: output field to value, with string keys; every field is here
  * `completions`: the fields of each completion, where more than one was asked for
  * `usage`: tokens by model, as the provider counted them
  * `trace`: where it was asked for by `trace: true`, the steps in order: maps of `"predictor"`,
    its name in the program or nil, `"inputs"` and `"outputs"`
  * `requests`: where it was asked for by `history: true`, what language models were sent and
    wrote, as `DSPex.CallHistory` has it; without texts unless the server keeps those
  * `meta`: `"worker"`, `"attempt"`, `"lm_ms"`, `"queue_ms"`; of a stored program
    `"program"` and `"version"`, which say what answered; in a session `"session"` and
    `"turn"`; …

  A field that has one of these six names is reached by `prediction["usage"]` only.

  Names from the wire become atoms when the atom exists already, which it does wherever
  loaded code says `prediction.answer`. For names that no loaded code has mentioned yet (an
  IEx session), at most 1,024 new atoms are made in the life of a VM; later names are
  reached by string. So no server can fill the atom table.

      iex> prediction = DSPex.Prediction.new(%{"answer" => "Blue", "usage" => "much"}, %{})
      iex> {prediction.answer, prediction[:answer], prediction["answer"], prediction["usage"]}
      {"Blue", "Blue", "Blue", "much"}
      iex> prediction.usage
      %{}
  """

  @behaviour Access

  alias DSPex.{Error, Tagged}

  @max_new_names 1_024
  @own [:__struct__, :fields, :completions, :usage, :trace, :requests, :meta]

  defstruct fields: %{}, completions: [], usage: %{}, trace: [], requests: [], meta: %{}

  @type t :: %{
          :__struct__ => __MODULE__,
          :fields => %{optional(String.t()) => term()},
          :completions => [%{optional(String.t()) => term()}],
          :usage => map(),
          :trace => [%{optional(String.t()) => term()}],
          :requests => [%{optional(String.t()) => term()}],
          :meta => map(),
          optional(atom()) => term()
        }

  @doc "A prediction of these fields (string keys); what tests of your own code need."
  @spec new(map(), map()) :: t()
  def new(fields, meta \\ %{}) when is_map(fields) and is_map(meta) do
    with_names(%__MODULE__{fields: fields, meta: meta})
  end

  @doc false
  @spec from_wire(term(), map()) :: {:ok, t()} | {:error, Error.t()}
  def from_wire(%Tagged{tag: "prediction", value: %{"fields" => %{} = fields} = parts}, meta) do
    prediction = %__MODULE__{
      fields: with_reasoning(fields, parts),
      completions: parts["completions"] || [],
      usage: parts["usage"] || %{},
      trace: parts["trace"] || [],
      requests: parts["requests"] || [],
      meta: meta
    }

    {:ok, with_names(prediction)}
  end

  def from_wire(other, _meta) do
    {:error,
     Error.new(:internal, "a prediction was expected, #{inspect(other, limit: 3, printable_limit: 40)} came")}
  end

  @doc false
  # What is sent of one, such as by a host function that gives it back.
  @spec to_wire(t()) :: Tagged.t()
  def to_wire(%__MODULE__{} = prediction) do
    more =
      for {name, value} <- [
            {"completions", prediction.completions},
            {"usage", prediction.usage},
            {"trace", prediction.trace}
          ],
          value not in [[], %{}],
          into: %{},
          do: {name, value}

    %Tagged{tag: "prediction", value: Map.put(more, "fields", prediction.fields)}
  end

  defp with_reasoning(fields, %{"reasoning" => reasoning}) when reasoning != nil,
    do: Map.put_new(fields, "reasoning", reasoning)

  defp with_reasoning(fields, _parts), do: fields

  defp with_names(prediction) do
    Enum.reduce(prediction.fields, prediction, fn {name, value}, named ->
      case atom(name) do
        {:ok, key} when key not in @own -> Map.put(named, key, value)
        _ -> named
      end
    end)
  end

  defp atom(name) do
    {:ok, String.to_existing_atom(name)}
  rescue
    ArgumentError -> new_atom(name)
  end

  defp new_atom(name) do
    if name =~ ~r/\A[A-Za-z][A-Za-z0-9_]{0,63}\z/ and take_new_name?(),
      do: {:ok, String.to_atom(name)},
      else: :error
  end

  defp take_new_name? do
    counter = counter()
    :counters.add(counter, 1, 1)
    :counters.get(counter, 1) <= @max_new_names
  end

  defp counter do
    case :persistent_term.get(__MODULE__, nil) do
      nil ->
        counter = :counters.new(1, [])
        :persistent_term.put(__MODULE__, counter)
        counter

      counter ->
        counter
    end
  end

  @impl Access
  def fetch(%__MODULE__{fields: fields}, name), do: Map.fetch(fields, to_string(name))

  @impl Access
  def get_and_update(%__MODULE__{} = prediction, name, function) do
    {got, fields} = Map.get_and_update(prediction.fields, to_string(name), function)
    {got, with_fields(prediction, fields)}
  end

  @impl Access
  def pop(%__MODULE__{} = prediction, name) do
    {got, fields} = Map.pop(prediction.fields, to_string(name))
    {got, with_fields(prediction, fields)}
  end

  defp with_fields(prediction, fields) do
    with_names(%{Map.take(prediction, @own) | fields: fields})
  end

  defimpl Inspect do
    import Inspect.Algebra

    def inspect(prediction, options) do
      concat(["#DSPex.Prediction<", to_doc(prediction.fields, options), ">"])
    end
  end
end
