defmodule DSPex.Datasets do
  @moduledoc """
  Datasets in the server's store: rows of fields, in versions that never change.

      rows = [%{question: "Who wrote Emma?", answer: "Jane Austen"}]
      {:ok, qa} = DSPex.Datasets.put(MyApp.DSPex, "qa", rows, inputs: [:question])
      {:ok, qa} = DSPex.Datasets.append(MyApp.DSPex, qa, [%{question: "Who wrote Ulysses?", answer: "James Joyce"}])
      {:ok, %{train: train, dev: dev}} = DSPex.Datasets.split(MyApp.DSPex, qa, [train: 0.8, dev: 0.2], seed: 7)
      Enum.to_list(DSPex.Datasets.rows(MyApp.DSPex, train))

  ## Where rows come from

  `put/4` and `append/4` take

  * a list or any other enumerable of maps, keyword lists or `DSPex.Example`s; a long one
    goes out a thousand rows at a time, and is a version only when all of it is there
  * `{:csv, text}`, `{:jsonl, text}`, `{:json, text}`, `{:parquet, bytes}`: a file's content,
    which must fit into one frame. A worker reads it (Parquet with the extra `dspex[parquet]`)
  * `{:file, path}`: the same, read here, its format told by its ending
  * `{:loader, name, options}`: one of DSPy's own datasets, such as
    `{:loader, "Colors", side: :dev, train_seed: 1}`; most fetch what they have from elsewhere

  ## What a row must be

  Which of the fields a program is given, its inputs, is declared with `inputs:`, or by
  `signature:`. With a signature every row must have its inputs, and values that fit their
  fields; text from a CSV file becomes what the field wants. Other fields may be there and
  are kept. What is appended must be like what is there. A row that does not fit is an
  `:invalid_argument` that names it, `"rows[17].score"`, and nothing is stored.

  ## Writing once

  As of `DSPex.Programs`: a write whose answer was lost is made again with the same
  `write_id:`, and is made once. All functions take the options of a call, such as `timeout:`.
  """

  alias DSPex.{Dataset, Error, Options, Page, Signature, Stored}
  alias DSPex.Datasets.{Source, Version}

  @typedoc "A stored dataset: its handle or its id."
  @type dataset :: Dataset.t() | String.t()

  @typedoc "Where rows come from."
  @type source ::
          Enumerable.t()
          | {:csv | :json | :jsonl | :parquet, binary()}
          | {:file, Path.t()}
          | {:loader, String.t()}
          | {:loader, String.t(), keyword()}

  @doc """
  Stores rows as the next version of a dataset, and makes it where there is none; returns its handle.

  Options: `inputs:` names of the fields that a program is given; `signature:` whatever
  `DSPex.Signature.new/1` takes, which has inputs; one of the two is wanted. `note:` why;
  `write_id:`. With a handle that has a version, that must be the newest, else it is a
  `:version_conflict`.
  """
  @spec put(DSPex.t(), dataset(), source(), keyword()) :: DSPex.result(Dataset.t())
  def put(dspex, dataset, rows, options \\ []),
    do: write(dspex, "dataset.put", dataset, rows, options, [:inputs, :note, :signature, :write_id])

  @doc "The same, or raises `DSPex.Error`."
  @spec put!(DSPex.t(), dataset(), source(), keyword()) :: Dataset.t()
  def put!(dspex, dataset, rows, options \\ []), do: Error.bang(put(dspex, dataset, rows, options))

  @doc """
  Stores the newest version's rows and these after them as the next version; returns its handle.

  Options: `note:`; `write_id:`. It costs what is new. With a handle that has a version, as `put/4`.
  """
  @spec append(DSPex.t(), dataset(), source(), keyword()) :: DSPex.result(Dataset.t())
  def append(dspex, dataset, rows, options \\ []),
    do: write(dspex, "dataset.append", dataset, rows, options, [:note, :write_id])

  @doc "The same, or raises `DSPex.Error`."
  @spec append!(DSPex.t(), dataset(), source(), keyword()) :: Dataset.t()
  def append!(dspex, dataset, rows, options \\ []), do: Error.bang(append(dspex, dataset, rows, options))

  @doc "What is known of a version: how many rows, their fields, their checksum."
  @spec get(DSPex.t(), dataset(), keyword()) :: DSPex.result(Version.t())
  def get(dspex, dataset, options \\ []) do
    with {:ok, dataset} <- Dataset.from(dataset), {:ok, options} <- Options.call(options, []) do
      payload = dataset |> Dataset.to_wire() |> Map.delete("select")
      dspex |> Stored.ask("dataset.get", payload, %{}, options) |> Stored.read(&Version.from_wire/1)
    end
  end

  @doc "The same, or raises `DSPex.Error`."
  @spec get!(DSPex.t(), dataset(), keyword()) :: Version.t()
  def get!(dspex, dataset, options \\ []), do: Error.bang(get(dspex, dataset, options))

  @doc """
  A page of rows, maps with strings for keys, as many of those that the handle selects as an answer holds.

  Options: `limit:` rows at most, 100 unless told otherwise, at most 1,000; `offset:` the
  `next` of the page before. `rows/3` gives all of them.
  """
  @spec page(DSPex.t(), dataset(), keyword()) :: DSPex.result(Page.t(map()))
  def page(dspex, dataset, options \\ []) do
    with {:ok, dataset} <- Dataset.from(dataset),
         {:ok, options} <- Options.call(options, [:limit, :offset]) do
      payload = dataset |> Dataset.to_wire() |> Map.merge(Stored.payload(options, [:limit, :offset]))

      dspex
      |> Stored.ask("dataset.rows", payload, %{}, options)
      |> Stored.read(&Page.from_wire(&1, "rows", fn row -> row end))
    end
  end

  @doc "The same, or raises `DSPex.Error`."
  @spec page!(DSPex.t(), dataset(), keyword()) :: Page.t(map())
  def page!(dspex, dataset, options \\ []), do: Error.bang(page(dspex, dataset, options))

  @doc """
  A lazy stream of all rows that the handle selects, page by page; raises `DSPex.Error`.

  Where the handle names no version, all pages are of the one that is the newest as the
  first page is asked for.
  """
  @spec rows(DSPex.t(), dataset(), keyword()) :: Enumerable.t()
  def rows(dspex, dataset, options \\ []) do
    Stream.resource(fn -> nil end, &next_rows(&1, dspex, dataset, options), fn _state -> :ok end)
  end

  defp next_rows(:done, _dspex, _dataset, _options), do: {:halt, :done}

  defp next_rows(nil, dspex, dataset, options) do
    dataset = Error.bang(Dataset.from(dataset))
    pinned = if dataset.version, do: dataset, else: %{dataset | version: get!(dspex, dataset).newest}
    next_rows({pinned, Keyword.put_new(options, :limit, 1_000)}, dspex, dataset, options)
  end

  defp next_rows({pinned, asked}, dspex, _dataset, _options) do
    page = page!(dspex, pinned, asked)
    {page.entries, if(page.next, do: {pinned, Keyword.put(asked, :offset, page.next)}, else: :done)}
  end

  @doc """
  Shares the rows of a version out to sides; returns a handle for each, by the names that were given.

      {:ok, %{train: train, dev: dev}} = DSPex.Datasets.split(dspex, "qa", [train: 0.8, dev: 0.2], seed: 7)

  Nothing is copied: the handles say which rows are theirs. No row is on two sides, and with
  shares that are 1 together none is left out. `seed:` as of `DSPex.Dataset.sample/3`.
  """
  @spec split(DSPex.t(), dataset(), keyword(number()), keyword()) ::
          DSPex.result(%{optional(atom()) => Dataset.t()})
  def split(dspex, dataset, sides, options \\ []) do
    with {:ok, dataset} <- Dataset.from(dataset),
         {:ok, shares} <- shares(sides),
         {:ok, options} <- Options.call(options, [:seed]) do
      payload = dataset |> Dataset.to_wire() |> Map.delete("select") |> Map.put("split", shares)
      payload = Map.merge(payload, Stored.payload(options, [:seed]))
      dspex |> Stored.ask("dataset.split", payload, %{}, options) |> Stored.read(&sides(&1, sides))
    end
  end

  @doc "The same, or raises `DSPex.Error`."
  @spec split!(DSPex.t(), dataset(), keyword(number()), keyword()) :: %{optional(atom()) => Dataset.t()}
  def split!(dspex, dataset, sides, options \\ []), do: Error.bang(split(dspex, dataset, sides, options))

  defp shares(sides) do
    if Keyword.keyword?(sides) and sides != [] and
         Enum.all?(sides, fn {_side, share} -> is_number(share) end),
       do: {:ok, Map.new(sides, fn {side, share} -> {Atom.to_string(side), share * 1.0} end)},
       else: {:error, Error.invalid_argument("split", "names of sides with their shares", sides)}
  end

  defp sides(answer, sides) do
    whole = Dataset.from_wire(answer)

    Map.new(sides, fn {side, _share} ->
      {side, %{whole | select: answer["sides"][Atom.to_string(side)]["select"]}}
    end)
  end

  @doc """
  A page of the stored datasets, by id, each with its newest version.

  Options: `prefix:` only ids that begin so; `limit:`; `after:` the `next` of the page before.
  """
  @spec list(DSPex.t(), keyword()) :: DSPex.result(Page.t(Version.t()))
  def list(dspex, options \\ []) do
    keys = [:after, :limit, :prefix]

    with {:ok, options} <- Options.call(options, keys) do
      dspex
      |> Stored.ask("dataset.list", Stored.payload(options, keys), %{}, options)
      |> Stored.read(&Page.from_wire(&1, "datasets", fn row -> Version.from_wire(row) end))
    end
  end

  @doc "The same, or raises `DSPex.Error`."
  @spec list!(DSPex.t(), keyword()) :: Page.t(Version.t())
  def list!(dspex, options \\ []), do: Error.bang(list(dspex, options))

  @doc "A lazy stream of all stored datasets, page by page, with the options of `list/2`; raises `DSPex.Error`."
  @spec stream(DSPex.t(), keyword()) :: Enumerable.t()
  def stream(dspex, options \\ []), do: Stored.stream(options, :after, &list(dspex, &1))

  @doc "A page of a dataset's versions, the newest first. Options: `limit:`; `before:` the `next` of the page before."
  @spec versions(DSPex.t(), dataset(), keyword()) :: DSPex.result(Page.t(Version.t()))
  def versions(dspex, dataset, options \\ []) do
    keys = [:before, :limit]

    with {:ok, dataset} <- Dataset.from(dataset), {:ok, options} <- Options.call(options, keys) do
      payload = Map.put(Stored.payload(options, keys), "dataset", dataset.id)

      dspex
      |> Stored.ask("dataset.versions", payload, %{}, options)
      |> Stored.read(&Page.from_wire(&1, "versions", fn row -> Version.from_wire(row) end))
    end
  end

  @doc "The same, or raises `DSPex.Error`."
  @spec versions!(DSPex.t(), dataset(), keyword()) :: Page.t(Version.t())
  def versions!(dspex, dataset, options \\ []), do: Error.bang(versions(dspex, dataset, options))

  @doc "Deletes a dataset with all its versions. Options: `write_id:`."
  @spec delete(DSPex.t(), dataset(), keyword()) :: :ok | {:error, Error.t()}
  def delete(dspex, dataset, options \\ []) do
    with {:ok, dataset} <- Dataset.from(dataset), {:ok, options} <- Options.call(options, [:write_id]) do
      dspex |> Stored.write("dataset.delete", %{"dataset" => dataset.id}, %{}, options) |> Stored.done()
    end
  end

  @doc "The same, or raises `DSPex.Error`."
  @spec delete!(DSPex.t(), dataset(), keyword()) :: :ok
  def delete!(dspex, dataset, options \\ []) do
    with {:error, error} <- delete(dspex, dataset, options), do: raise(error)
  end

  # -- writing ---------------------------------------------------------------------------

  defp write(dspex, method, dataset, rows, options, keys) do
    with {:ok, dataset} <- Dataset.from(dataset),
         {:ok, options} <- Options.call(options, keys),
         {:ok, declared} <- declared(options),
         {:ok, payloads} <- Source.payloads(rows) do
      first = Map.merge(Stored.payload(options, [:note]), declared)
      target = %{"dataset" => dataset.id}
      first = if dataset.version, do: Map.put(first, "newest", dataset.version), else: first
      ask = fn payload, options -> ask(dspex, method, Map.merge(target, payload), options) end
      send_pieces(payloads, first, ask, options)
    end
  rescue
    error in Error -> {:error, error}
  end

  defp declared(options) do
    inputs = Stored.payload(options, [:inputs])

    with {:ok, names} <- names(inputs["inputs"]),
         {:ok, signature} <- signature(options[:signature]),
         do: {:ok, Map.merge(names, signature)}
  end

  defp names(nil), do: {:ok, %{}}

  defp names(names) do
    if is_list(names) and Enum.all?(names, &is_binary/1),
      do: {:ok, %{"input_keys" => names}},
      else: {:error, Error.invalid_argument("inputs", "a list of names of fields", names)}
  end

  defp signature(nil), do: {:ok, %{}}

  defp signature(source) do
    with {:ok, signature} <- Signature.new(source), do: {:ok, %{"signature" => Signature.to_wire(signature)}}
  end

  # One piece is one call. Of several, each is sent when it is known whether another one follows.
  defp send_pieces(payloads, first, ask, options) do
    upload = upload_of(options[:write_id])

    case Enum.reduce_while(payloads, nil, &hold(&1, &2, first, upload, ask, options)) do
      {:error, error} -> {:error, error}
      {payload, 1} -> ask.(Map.merge(payload, first), options)
      {payload, number} -> ask.(piece(payload, number, upload, true), options)
    end
  end

  # With the caller's id of the write the pieces have such too, so that none is written twice.
  defp upload_of(nil), do: Base.url_encode64(:crypto.strong_rand_bytes(16), padding: false)
  defp upload_of(write_id), do: Base.url_encode64(:crypto.hash(:sha256, to_string(write_id)), padding: false)

  defp hold(payload, nil, _first, _upload, _ask, _options), do: {:cont, {payload, 1}}

  defp hold(payload, {held, number}, first, upload, ask, options) do
    held = if number == 1, do: Map.merge(held, first), else: held

    case ask.(piece(held, number, upload, false), Map.put(options, :write_id, "#{upload}/#{number}")) do
      {:ok, _dataset} -> {:cont, {payload, number + 1}}
      {:error, error} -> {:halt, {:error, error}}
    end
  end

  defp piece(payload, number, upload, done?),
    do: Map.merge(payload, %{"upload" => upload, "piece" => number, "done" => done?})

  defp ask(dspex, method, payload, options),
    do: dspex |> Stored.write(method, payload, %{}, options) |> Stored.read(&Dataset.from_wire/1)
end
