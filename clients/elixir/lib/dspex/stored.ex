defmodule DSPex.Stored do
  @moduledoc false
  # What asking about programs and asking about sessions have in common: writes, answers, pages.

  alias DSPex.{Error, Page}

  @doc "Asks; what is answered as it is."
  @spec ask(DSPex.t(), String.t(), map(), map(), map()) :: DSPex.result(term())
  def ask(dspex, method, payload, meta, options) do
    with {:ok, value, _meta} <- DSPex.run(dspex, method, payload, meta, options), do: {:ok, value}
  end

  @doc "The same for a write: it has a `write_id`, and every error says which."
  @spec write(DSPex.t(), String.t(), map(), map(), map()) :: DSPex.result(term())
  def write(dspex, method, payload, meta, options) do
    write_id = options |> Map.get_lazy(:write_id, &new_write_id/0) |> to_string()

    with {:error, error} <- ask(dspex, method, payload, Map.put(meta, "write_id", write_id), options),
         do: {:error, %{error | details: Map.put(error.details, "write_id", write_id)}}
  end

  defp new_write_id, do: Base.url_encode64(:crypto.strong_rand_bytes(16), padding: false)

  @doc "Reads the map that was answered."
  @spec read(DSPex.result(term()), (map() -> value)) :: DSPex.result(value) when value: term()
  def read({:ok, answer}, read) when is_map(answer) and not is_struct(answer), do: {:ok, read.(answer)}

  def read({:ok, other}, _read) do
    came = inspect(other, limit: 3, printable_limit: 40)
    {:error, Error.new(:internal, "a map was expected as answer, #{came} came")}
  end

  def read({:error, error}, _read), do: {:error, error}

  @doc "The outcome of what is answered with nothing."
  @spec done(DSPex.result(term())) :: :ok | {:error, Error.t()}
  def done({:ok, _nothing}), do: :ok
  def done({:error, error}), do: {:error, error}

  @doc "Those options that go into the payload; those that are nil are left out."
  @spec payload(map(), [atom()]) :: map()
  def payload(options, keys) do
    for key <- keys, options[key] != nil, into: %{}, do: {Atom.to_string(key), plain(options[key])}
  end

  defp plain(name) when is_atom(name) and not is_boolean(name), do: Atom.to_string(name)
  defp plain(list) when is_list(list), do: Enum.map(list, &plain/1)
  defp plain(value), do: value

  @doc """
  The entries of all pages, each page asked for when it is wanted; raises where one cannot be had.

  `cursor` is the option that says where a page begins.
  """
  @spec stream(keyword(), atom(), (keyword() -> DSPex.result(Page.t(term())))) :: Enumerable.t()
  def stream(options, cursor, ask) do
    Stream.resource(fn -> {:ask, options} end, &next(&1, cursor, ask), fn _state -> :ok end)
  end

  defp next(:done, _cursor, _ask), do: {:halt, :done}

  defp next({:ask, options}, cursor, ask) do
    case ask.(options) do
      {:ok, %Page{next: nil} = page} -> {page.entries, :done}
      {:ok, page} -> {page.entries, {:ask, Keyword.put(options, cursor, page.next)}}
      {:error, error} -> raise error
    end
  end
end
