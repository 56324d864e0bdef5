defmodule DSPex.Metric do
  @moduledoc """
  How good predictions are: metrics as specs, and the scores of rows by them.

      metric =
        DSPex.Metric.weighted(
          right: {DSPex.Metric.exact_match("answer", normalize: :case), 3},
          short: {DSPex.Metric.regex("answer", ~r/^.{1,200}$/s), 1}
        )

      rows = [{%{question: "Wet?", answer: "Yes"}, %{answer: "yes"}}]
      {:ok, scores} = DSPex.Metric.score(MyApp.DSPex, metric, rows)
      scores.mean

  A row is an example, which has what was expected, and a prediction. A score is a
  `DSPex.Metric.Score`: from 0 to 1, with a verdict where the metric has one, and feedback.

  ## Metrics

  | of one field | |
  |---|---|
  | `exact_match/2`, `contains/2`, `numeric/2`, `json_match/2` | yes or no |
  | `regex/3` | yes or no, without an example |
  | `token_f1/2`, `set_f1/2`, `edit_distance/2` | how similar |

  | made of others | |
  |---|---|
  | `weighted/1`, `by_field/1` | their mean |
  | `all/1`, `any/1` | the lowest, the highest |
  | `threshold/2`, `negate/1` | enough or not, the contrary |

  `judge/2` has a language model say it, `host/2` a function of yours, and `new/2` is any metric of
  the server by its name, such as DSPy's own:

      DSPex.Metric.new("SemanticF1", example: %{response: "answer"}, prediction: %{response: "answer"})

  `docs/metrics.md` has all of them with their options, and `DSPex.describe/2` as `"metrics"`. What
  is wrong with a metric the server says, by its path, before it looks at a row.

  ## Options of metrics that compare a field

  * `:expected`: the field of the example that has what is expected; by default the same name
  * `:value`: what is expected, the same for all rows, instead
  * `:any_of`: `true` where what is expected is a list, any member of which will do
  * `:normalize`: what texts are before they are compared: `:none`, `:case`, or `:dspy`

  ## What is a 0, and what is an error

  A prediction with a value of the wrong type is wrong: 0. A row that lacks a field, and a judge or
  a function that says no score, is `{:error, error}` with the type `:metric_failed`, or
  `:metric_timeout` and what else may go wrong; `error.details["part"]` says which metric it was
  inside of one made of others. The other rows have their scores all the same.

      iex> metric = DSPex.Metric.all([DSPex.Metric.exact_match("answer"), DSPex.Metric.contains("why", value: "so")])
      iex> Map.keys(metric.options["parts"])
      ["contains", "exact_match"]
  """

  alias DSPex.{Error, Options, Prediction, Spec, Stored, Tagged}
  alias DSPex.Metric.Scores

  @sources "a DSPex.Metric, the name of a metric, {name, options}, or a map of metric and options"

  @enforce_keys [:metric]
  defstruct [:metric, options: %{}]

  @type t :: %__MODULE__{metric: String.t(), options: %{optional(String.t()) => term()}}

  @typedoc "Whatever stands for a metric: one, its name, or `{name, options}`."
  @type source :: t() | String.t() | atom() | {String.t() | atom(), map() | keyword()} | map()

  @typedoc "The name of a field."
  @type field :: String.t() | atom()

  @typedoc "An example and a prediction; `DSPex.Example`, `DSPex.Prediction`, or maps or keyword lists of fields."
  @type row :: {map() | keyword(), map() | keyword()}

  @doc """
  Any metric by its name, with its options.

      iex> DSPex.Metric.new(:exact_match, field: :answer, normalize: :case)
      %DSPex.Metric{metric: "exact_match", options: %{"field" => "answer", "normalize" => "case"}}

  Raises `DSPex.Error` for what is no name and no options.
  """
  @spec new(String.t() | atom(), map() | keyword()) :: t()
  def new(name, options \\ []) do
    if not name?(name), do: raise(Error.invalid_argument("metric", "the name of a metric", name))

    if not options?(options),
      do: raise(Error.invalid_argument("options", "a map or keyword list", options))

    %__MODULE__{metric: to_string(name), options: Map.new(options, &option/1)}
  end

  @doc "Whether a field is what was expected."
  @spec exact_match(field(), keyword()) :: t()
  def exact_match(field, options \\ []), do: of_field(:exact_match, field, options)

  @doc "Whether a text has another one in it."
  @spec contains(field(), keyword()) :: t()
  def contains(field, options \\ []), do: of_field(:contains, field, options)

  @doc """
  Whether a number is near enough: `:absolute` says how far off it may be, `:relative` the same as a
  share of what was expected.
  """
  @spec numeric(field(), keyword()) :: t()
  def numeric(field, options \\ []), do: of_field(:numeric, field, options)

  @doc """
  Whether a value, or a text that is JSON, is what was expected; `:ignore` are paths that do not
  count, such as `"meta.time"` or `"items[*].id"`.
  """
  @spec json_match(field(), keyword()) :: t()
  def json_match(field, options \\ []), do: of_field(:json_match, field, options)

  @doc "How much of the words of two texts is the same, as F1."
  @spec token_f1(field(), keyword()) :: t()
  def token_f1(field, options \\ []), do: of_field(:token_f1, field, options)

  @doc "How much two lists have in common, as F1."
  @spec set_f1(field(), keyword()) :: t()
  def set_f1(field, options \\ []), do: of_field(:set_f1, field, options)

  @doc "How similar two texts are, by Levenshtein's distance; the server needs the extra `metrics`."
  @spec edit_distance(field(), keyword()) :: t()
  def edit_distance(field, options \\ []), do: of_field(:edit_distance, field, options)

  @doc """
  Whether a text fits a pattern; `whole: true` where all of it must.

  The pattern is a string in the syntax of Python's `regex`, or a `Regex`, whose source is taken for
  such with what of its modifiers (`i`, `m`, `s`, `x`, `u`) Python has too.

      iex> DSPex.Metric.regex("answer", ~r/^yes/im).options
      %{"field" => "answer", "pattern" => "(?im)^yes"}
  """
  @spec regex(field(), String.t() | Regex.t(), keyword()) :: t()
  def regex(field, pattern, options \\ []),
    do: of_field(:regex, field, [pattern: pattern(pattern)] ++ options)

  @doc """
  The mean of several metrics, by name; `{metric, weight}` weighs otherwise than 1.

      iex> DSPex.Metric.weighted(right: {DSPex.Metric.exact_match("a"), 2}, near: DSPex.Metric.token_f1("a")).options["weights"]
      %{"right" => 2}
  """
  @spec weighted(keyword(source() | {source(), number()}) | map() | [source() | {source(), number()}]) :: t()
  def weighted(parts) do
    named = named(parts)
    weights = for {name, {_metric, weight}} when is_number(weight) <- named, into: %{}, do: {name, weight}
    of_parts(:weighted, Enum.map(named, &unweighted/1), weights: weights)
  end

  @doc "The lowest score of several metrics, by name or in a list; passed when all have."
  @spec all(keyword(source()) | map() | [source()]) :: t()
  def all(parts), do: of_parts(:all, named(parts))

  @doc "The highest score of several metrics, by name or in a list; passed when one has."
  @spec any(keyword(source()) | map() | [source()]) :: t()
  def any(parts), do: of_parts(:any, named(parts))

  @doc """
  The mean over several fields, each by a metric of its own, which needs no field.

      iex> metric = DSPex.Metric.by_field(answer: :exact_match, price: {:numeric, absolute: 0.5})
      iex> metric.options["fields"]["price"]
      %{"metric" => "numeric", "options" => %{"absolute" => 0.5}}
  """
  @spec by_field(keyword(source()) | map()) :: t()
  def by_field(fields),
    do: %__MODULE__{metric: "by_field", options: %{"fields" => specs(named(fields), "fields")}}

  @doc "Whether a score is high enough: 1 or 0."
  @spec threshold(source(), number()) :: t()
  def threshold(metric, at),
    do: %__MODULE__{metric: "threshold", options: %{"metric" => spec(metric, "metric"), "at" => at}}

  @doc "What a score lacks to 1; passed when the metric has not."
  @spec negate(source()) :: t()
  def negate(metric), do: %__MODULE__{metric: "negate", options: %{"metric" => spec(metric, "metric")}}

  @doc """
  What a program says of a prediction; an output of its signature is the score.

      DSPex.Metric.judge(
        {:chain_of_thought, "question, answer -> clarity: int, advice"},
        score: :clarity, scale: [1, 5], feedback: :advice, lm: "strict"
      )

  * `:score`: the output that is the score, a number or a boolean; by default `"score"`
  * `:scale`: the numbers that stand for 0 and for 1; by default `[0, 1]`
  * `:feedback`: the output that is the feedback
  * `:inputs`: what feeds the inputs: `"example.FIELD"` or `"prediction.FIELD"`; by default what has the
    same name, in the prediction before the example
  * `:lm`: the language model that judges; by default that of the call
  """
  @spec judge(Spec.source(), keyword()) :: t()
  def judge(program, options \\ []) do
    metric = new(:judge, options)

    case Spec.from(program) do
      {:ok, spec} -> %{metric | options: Map.put(metric.options, "program", Spec.to_wire(spec))}
      {:error, error} -> raise error
    end
  end

  @doc """
  What a function of the instance says. It is called with `"example"` and `"prediction"`, maps of
  field to value, and answers with a boolean, a number from 0 to 1, or a map of `score`, and maybe
  `feedback` and `passed`.

  `timeout:`: milliseconds of one call.
  """
  @spec host(String.t() | atom(), keyword()) :: t()
  def host(function, options \\ []) do
    {timeout, options} = Keyword.pop(options, :timeout)
    limit = if timeout, do: [timeout_s: timeout / 1000], else: []
    new(:host, [function: function] ++ limit ++ options)
  end

  @doc """
  Scores rows by a metric.

  Each row is `{example, prediction}`. With no rows the metric is checked, and nothing else.

  Options, beside those of a call such as `:timeout`:

  * `:lm`: the language model of metrics that ask one and name none
  * `:parallelism`: rows at once, 1 to 1,024, where a language model or a function is asked; 16 by default
  * `:row_timeout`: milliseconds of one such row
  """
  @spec score(DSPex.t(), source(), [row()], keyword()) :: DSPex.result(Scores.t())
  def score(dspex, metric, rows, options \\ []) do
    with {:ok, options} <- Options.call(options, [:lm, :parallelism, :row_timeout]),
         {:ok, spec} <- to_wire(metric, "metric"),
         {:ok, rows} <- rows(rows),
         payload = options |> Stored.payload([:lm, :parallelism]) |> Map.merge(deadline(options)),
         payload = Map.merge(payload, %{"metric" => spec, "rows" => rows}),
         {:ok, value, meta} <- DSPex.run(dspex, "metric.score", payload, %{}, options),
         do: Scores.from_wire(value, meta)
  end

  @doc "The same, or raises `DSPex.Error`; also then a row without a score is one of the results."
  @spec score!(DSPex.t(), source(), [row()], keyword()) :: Scores.t()
  def score!(dspex, metric, rows, options \\ []), do: Error.bang(score(dspex, metric, rows, options))

  defp deadline(%{row_timeout: milliseconds}), do: %{"row_deadline_ms" => milliseconds}
  defp deadline(_options), do: %{}

  # -- metrics on the wire ---------------------------------------------------------------

  @doc false
  # The map that crosses the wire, of any source.
  @spec to_wire(term(), String.t()) :: {:ok, map()} | {:error, Error.t()}
  def to_wire(%__MODULE__{} = metric, _path),
    do: {:ok, %{"metric" => metric.metric, "options" => metric.options}}

  def to_wire(%{"metric" => _name} = on_the_wire, _path), do: {:ok, on_the_wire}

  def to_wire({name, options} = source, path) do
    if name?(name) and options?(options),
      do: to_wire(new(name, options), path),
      else: {:error, Error.invalid_argument(path, @sources, source)}
  end

  def to_wire(name, path) do
    if name?(name),
      do: to_wire(new(name), path),
      else: {:error, Error.invalid_argument(path, @sources, name)}
  end

  defp spec(source, path) do
    case to_wire(source, path) do
      {:ok, spec} -> spec
      {:error, error} -> raise error
    end
  end

  defp specs(named, path),
    do: Map.new(named, fn {name, source} -> {name, spec(source, "#{path}.#{name}")} end)

  defp of_field(name, field, options) do
    if not name?(field), do: raise(Error.invalid_argument("field", "the name of a field", field))
    new(name, [field: field] ++ options)
  end

  defp of_parts(name, named, more \\ []) do
    more = for {key, value} <- more, value != %{}, into: %{}, do: {Atom.to_string(key), value}
    %__MODULE__{metric: Atom.to_string(name), options: Map.put(more, "parts", specs(named, "parts"))}
  end

  defp unweighted({name, {metric, weight}}) when is_number(weight), do: {name, metric}
  defp unweighted(other), do: other

  # By name, or in a list: then each is called after its kind, and a second one `kind_2`.
  defp named(parts) when is_map(parts) and not is_struct(parts), do: named(Map.to_list(parts))

  defp named([_ | _] = parts) do
    if Keyword.keyword?(parts) or Enum.all?(parts, &by_name?/1),
      do: once(Enum.map(parts, fn {name, part} -> {to_string(name), part} end)),
      else: numbered(parts)
  end

  defp named(other), do: raise(Error.invalid_argument("parts", "metrics, by name or in a list", other))

  defp by_name?({name, %__MODULE__{}}), do: is_binary(name)
  defp by_name?({name, {%__MODULE__{}, weight}}), do: is_binary(name) and is_number(weight)
  defp by_name?(_other), do: false

  defp once(named) do
    names = Enum.map(named, &elem(&1, 0))

    case names -- Enum.uniq(names) do
      [] -> named
      [name | _] -> raise Error.in_words("parts.#{name}", "each name once", "a second one")
    end
  end

  defp numbered(parts) do
    {named, _counts} =
      parts
      |> Enum.with_index()
      |> Enum.map_reduce(%{}, fn {part, index}, counts ->
        {_name, source} = unweighted({index, part})
        kind = spec(source, "parts[#{index}]")["metric"]
        count = Map.get(counts, kind, 0) + 1
        name = if count == 1, do: kind, else: "#{kind}_#{count}"
        {{name, part}, Map.put(counts, kind, count)}
      end)

    named
  end

  # A constant is whatever it is; names of all else may be atoms.
  defp option({key, value}) when key in [:value, "value"], do: {"value", value}
  defp option({key, value}), do: {to_string(key), plain(value)}

  defp plain(value) when is_boolean(value) or is_nil(value), do: value
  defp plain(value) when is_atom(value), do: Atom.to_string(value)
  defp plain(%__MODULE__{} = metric), do: spec(metric, "metric")
  defp plain(value) when is_struct(value), do: value

  defp plain(value) when is_map(value),
    do: Map.new(value, fn {key, part} -> {to_string(key), plain(part)} end)

  defp plain([{key, _} | _] = keyword) when is_atom(key), do: plain(Map.new(keyword))
  defp plain(value) when is_list(value), do: Enum.map(value, &plain/1)
  defp plain(value), do: value

  defp pattern(%Regex{} = regex) do
    case modifiers(Regex.opts(regex)) do
      "" -> Regex.source(regex)
      letters -> "(?#{letters})" <> Regex.source(regex)
    end
  end

  defp pattern(pattern) when is_binary(pattern), do: pattern
  defp pattern(other), do: raise(Error.invalid_argument("pattern", "a string or a Regex", other))

  @letters %{caseless: "i", multiline: "m", dotall: "s", extended: "x", unicode: "", ucp: ""}

  # A string of letters, or a list of names, as Elixir has it.
  defp modifiers(letters) when is_binary(letters) do
    case String.graphemes(letters) -- ~w(i m s x u) do
      [] -> String.replace(letters, "u", "")
      [letter | _] -> raise Error.in_words("pattern", "a Regex with modifiers i, m, s, x or u", letter)
    end
  end

  defp modifiers(names) do
    Enum.map_join(names, fn name ->
      Map.get(@letters, name) ||
        raise Error.in_words("pattern", "a Regex with modifiers i, m, s, x or u", inspect(name))
    end)
  end

  defp name?(name), do: (is_binary(name) and name != "") or (is_atom(name) and name not in [nil, true, false])
  defp options?(options), do: (is_map(options) and not is_struct(options)) or Keyword.keyword?(options)

  # -- rows ------------------------------------------------------------------------------

  defp rows(rows) when is_list(rows) do
    rows
    |> Enum.with_index()
    |> Enum.reduce_while({:ok, []}, fn {row, index}, {:ok, read} ->
      case row(row, "rows[#{index}]") do
        {:ok, row} -> {:cont, {:ok, [row | read]}}
        {:error, error} -> {:halt, {:error, error}}
      end
    end)
    |> case do
      {:ok, read} -> {:ok, Enum.reverse(read)}
      error -> error
    end
  end

  defp rows(other), do: {:error, Error.invalid_argument("rows", "a list of {example, prediction}", other)}

  defp row({example, prediction}, path) do
    with {:ok, example} <- fields(example, "#{path}.example"),
         {:ok, prediction} <- fields(prediction, "#{path}.prediction"),
         do: {:ok, %{"example" => example, "prediction" => prediction}}
  end

  defp row(other, path), do: {:error, Error.invalid_argument(path, "{example, prediction}", other)}

  defp fields(%Prediction{fields: fields}, _path), do: {:ok, fields}
  defp fields(%Tagged{tag: tag} = tagged, _path) when tag in ["example", "prediction"], do: {:ok, tagged}

  defp fields(fields, path) do
    if options?(fields),
      do: {:ok, Map.new(fields)},
      else: {:error, Error.invalid_argument(path, "a map or keyword list of field and value", fields)}
  end
end
