defmodule DSPex.Datasets.Source do
  @moduledoc false
  # Where rows come from, as payloads: one, or for many rows several, each small enough for a frame.

  alias DSPex.{Binary, Error, Example, Tagged}

  @formats ~w(csv json jsonl parquet)a
  @extensions Map.new(@formats, &{".#{&1}", &1})
  @piece_rows 1_000
  @expected "rows, {format, content}, {:file, path} or {:loader, name, options}"

  @doc "A stream of payloads, at least one; raises `DSPex.Error` for a row that is none."
  @spec payloads(term()) :: {:ok, Enumerable.t()} | {:error, Error.t()}
  def payloads({:file, path}) when is_binary(path) do
    with {:ok, format} <- format_of(path), {:ok, content} <- read(path), do: payloads({format, content})
  end

  def payloads({format, content}) when format in @formats and is_binary(content) do
    document = if format == :parquet, do: Binary.new(content), else: content
    {:ok, [%{"document" => document, "format" => Atom.to_string(format)}]}
  end

  def payloads({:loader, name}), do: payloads({:loader, name, []})

  def payloads({:loader, name, options}) do
    with true <- is_binary(name) and Keyword.keyword?(options) do
      {side, options} = Keyword.pop(options, :side, :train)
      options = Map.new(options, fn {key, value} -> {Atom.to_string(key), value} end)
      {:ok, [%{"loader" => %{"name" => name, "side" => to_string(side), "options" => options}}]}
    else
      false -> {:error, Error.invalid_argument("rows", @expected, {:loader, name, options})}
    end
  end

  def payloads(rows) do
    if is_binary(rows) or is_tuple(rows) or Enumerable.impl_for(rows) == nil,
      do: {:error, Error.invalid_argument("rows", @expected, rows)},
      else: {:ok, pieces(rows)}
  end

  defp format_of(path) do
    with :error <- Map.fetch(@extensions, path |> Path.extname() |> String.downcase()),
         do: {:error, Error.invalid_argument("rows", "a file that ends in #{extensions()}", path)}
  end

  defp extensions, do: Enum.map_join(@formats, ", ", &".#{&1}")

  defp read(path) do
    with {:error, reason} <- File.read(path),
         do:
           {:error,
            Error.in_words("rows", "a file that can be read", "#{path}: #{:file.format_error(reason)}")}
  end

  defp pieces(rows) do
    rows
    |> Stream.with_index()
    |> Stream.map(&row/1)
    |> Stream.chunk_every(@piece_rows)
    |> or_none()
    |> Stream.map(&%{"rows" => &1})
  end

  # A stream that is empty is one piece without rows.
  defp or_none(chunks), do: Stream.concat(chunks, [:end]) |> Stream.transform(:first, &chunk/2)

  defp chunk(:end, :first), do: {[[]], :rest}
  defp chunk(:end, :rest), do: {[], :rest}
  defp chunk(rows, _place), do: {[rows], :rest}

  defp row({%Tagged{tag: "example"} = example, _number}), do: Example.fields(example)
  defp row({row, _number}) when is_map(row) and not is_struct(row), do: row

  defp row({row, number}) do
    if is_list(row) and row != [] and Keyword.keyword?(row),
      do: Map.new(row),
      else: raise(Error.invalid_argument("rows[#{number}]", "a map of field to value", row))
  end
end
