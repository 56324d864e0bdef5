defmodule DSPex.Options.Stored do
  @moduledoc false
  # The options of calls about what is stored: what each must be, and in words.

  alias DSPex.Name

  @ttl_ms 1_000..31_536_000_000
  @orders [:index, :score, :worker_ms]

  @spec rule(atom(), term()) :: {boolean(), String.t()}
  def rule(key, value) when key in [:program, :session, :write_id], do: {Name.id?(value), Name.id()}
  def rule(:tag, value), do: {Name.tag?(value), Name.tag()}

  def rule(:tags, value),
    do: {is_list(value) and Enum.all?(value, &Name.tag?/1), "a list of tags, each #{Name.tag()}"}

  def rule(:experiment, value), do: {Name.id?(value), Name.id()}
  def rule(:note, value), do: {is_binary(value), "a string"}
  def rule(:limit, value), do: {is_integer(value) and value in 1..1_000, "an integer from 1 to 1000"}

  def rule(key, value) when key in [:offset, :seed],
    do: {is_integer(value) and value >= 0, "an integer from 0"}

  def rule(:prefix, value), do: {is_binary(value), "a string that ids begin with"}
  def rule(:after, value), do: {is_nil(value) or is_binary(value), "`next` of a page"}

  def rule(:before, value),
    do: {is_nil(value) or (is_integer(value) and value > 0), "`next` of a page of versions"}

  def rule(:sort, value), do: {value in [:program, :created, :updated], "one of :program, :created, :updated"}
  def rule(:run, value), do: {Name.id?(value), Name.id()}
  def rule(:media_type, value), do: {is_binary(value), "a media type, such as text/csv"}
  def rule(:lowest, value), do: {is_boolean(value), "a boolean"}

  def rule(key, value) when key in [:params, :lineage],
    do: {entries?(value), "a map or keyword list of names to strings, numbers and booleans"}

  def rule(key, value) when key in [:budget, :deadline, :key, :kind], do: DSPex.Jobs.rule(key, value)

  def rule(:descending, value), do: {is_boolean(value), "a boolean"}
  def rule(:format, value), do: {value in [:dspex, :dspy], "one of :dspex, :dspy"}
  def rule(:versions, value), do: {value in [:one, :all], ":one or :all"}

  def rule(:ttl, value),
    do: {is_integer(value) and value in @ttl_ms, "milliseconds from #{@ttl_ms.first} to #{@ttl_ms.last}"}

  def rule(key, value) when key in [:dataset, :evaluation], do: {Name.id?(value), Name.id()}
  def rule(:on_row, value), do: {is_function(value, 1), "a function of one argument"}
  def rule(:order, value), do: {value in @orders, "one of #{Enum.map_join(@orders, ", ", &inspect/1)}"}
  def rule(:metric, value), do: {is_atom(value) or is_binary(value), "the name of a metric"}

  def rule(:metric_timeout, value),
    do: {is_integer(value) and value in 1..86_400_000, "milliseconds from 1 to 86400000"}

  def rule(key, value) when key in [:error, :passed, :requests, :scored], do: {is_boolean(value), "a boolean"}

  def rule(key, value) when key in [:below, :confidence, :failure_score, :max, :min],
    do: {is_number(value), "a number"}

  def rule(:resamples, value),
    do: {is_integer(value) and value in 100..10_000, "an integer from 100 to 10000"}

  def rule(:indexes, value),
    do: {is_list(value) and Enum.all?(value, &(is_integer(&1) and &1 >= 0)), "a list of integers from 0"}

  # What is in them is checked, by name, where they are used.
  def rule(key, _value) when key in [:inputs, :metrics, :module, :rows, :signature, :spec, :state],
    do: {true, "anything"}

  defp entries?(value), do: Keyword.keyword?(value) or (is_map(value) and not is_struct(value))
end
