defmodule DSPex.Programs do
  @moduledoc """
  Programs in the server's store: versions, tags, differences, and documents to carry them elsewhere.

      {:ok, program} =
        DSPex.Programs.create(MyApp.DSPex, {"ChainOfThought", "question -> answer"},
          program: "qa",
          state: [predict: [demos: [[question: "Is water wet?", reasoning: "It is a liquid.", answer: "Yes"]]]]
        )

      {:ok, second} =
        DSPex.Programs.update(MyApp.DSPex, program, [state: [predict: [instructions: "Be brief."]]], note: "shorter")

      :ok = DSPex.Programs.tag(MyApp.DSPex, second, "stable")
      {:ok, prediction} = DSPex.predict(MyApp.DSPex, DSPex.Program.new("qa", tag: "stable"), %{question: "Why?"})

  Where a program is wanted, its id is as good as a `DSPex.Program`. Which version a
  handle means, and that one with a version guards a write, is said there.

  A version never changes and its number is never used again. So what is in use stays in
  use until somebody says otherwise, and `rollback/4` stores an older content as a new version.

  `DSPex.create/3`, `DSPex.get/3` and `DSPex.delete/3` are the same functions by shorter
  names; `DSPex.list/2` gives the handles of `stream/2`.

  ## Writing once

  Where a write's answer was lost (`:connection_lost`, `:deadline`, or `:store_unavailable`
  with `maybe_executed?`) nobody knows whether it has happened. To make it again without
  making it twice, give the second the `write_id` of the first: it has the first one's
  answer if that has happened, and happens now if not. The server remembers a `write_id`
  for 24 hours.

  Every write has one: a random one unless you give it. An error of a write says which, in
  `details["write_id"]`:

      case DSPex.Programs.update(dspex, program, changes) do
        {:error, %DSPex.Error{maybe_executed?: true, details: %{"write_id" => write_id}}} ->
          DSPex.Programs.update(dspex, program, changes, write_id: write_id)

        outcome ->
          outcome
      end

  Whatever is repeated by itself, such as a job, has an id already: `write_id: "job-\#{job.id}"`
  makes the write once however often the job runs, also after the BEAM has died.

  The client does not repeat a write behind your back: how long to wait for a store that is
  down, and whether to go on without it, your code knows best. With the same `write_id` and
  other parameters a write is refused as `:write_id_reused`.

  ## Options

  All functions take the options of a call, such as `timeout:`; all that write take

  * `write_id:` an id of 1 to 128 bytes, as above

  and those that make a version

  * `note:` why, for people who read its history
  """

  alias DSPex.{Error, Options, Page, Program, Spec, Stored}
  alias DSPex.Programs.{Change, Record, State, Summary, Version}

  @typedoc "A stored program: its handle or its id."
  @type program :: Program.t() | String.t()

  # -- writing ---------------------------------------------------------------------------

  @doc """
  Stores a new program; returns the handle of its version 1.

  Options: `program:` the id wanted, else one is made (`:program_exists` where it is taken);
  `state:` what it has learned, as `DSPex.Programs.State`; `tags:` a list of tags that
  version 1 gets; `adapter:` and `on_violation:` of its calls that name none (`DSPex.Choices`);
  `note:`; `write_id:`.
  """
  @spec create(DSPex.t(), Spec.source(), keyword()) :: DSPex.result(Program.t())
  def create(dspex, spec, options \\ []) do
    with {:ok, options} <-
           Options.call(options, [:adapter, :note, :on_violation, :program, :state, :tags, :write_id]),
         {:ok, spec} <- Spec.from(spec),
         {:ok, spec} <- Spec.choosing(spec, Map.take(options, [:adapter, :on_violation]), "spec"),
         {:ok, content} <- content(Map.put(options, :spec, spec)) do
      payload = Map.merge(content, Stored.payload(options, [:note, :tags]))

      dspex
      |> Stored.write("program.create", payload, Stored.payload(options, [:program]), options)
      |> Stored.read(&Program.from_wire/1)
    end
  end

  @doc "The same, or raises `DSPex.Error`."
  @spec create!(DSPex.t(), Spec.source(), keyword()) :: Program.t()
  def create!(dspex, spec, options \\ []), do: Error.bang(create(dspex, spec, options))

  @doc """
  Stores a new version of a program; returns its handle.

  `changes` are a keyword list or map of

  * `:state`: predictor to the parts that are replaced, as `DSPex.Programs.State`; all others stay
  * `:spec`: another spec. What has been learned is kept where it fits; what does not fit
    is an error that names it, unless `:state` says it anew

  With a handle that has a version, that must be the newest: else somebody was faster, and
  it is a `:version_conflict` with the newest in `details["newest"]`. With an id it is
  made to whatever is the newest.

  Options: `tags:` a list of tags that the new version gets; `note:`; `write_id:`.
  """
  @spec update(DSPex.t(), program(), keyword() | map(), keyword()) :: DSPex.result(Program.t())
  def update(dspex, program, changes, options \\ []) do
    with {:ok, program} <- untagged(program),
         {:ok, changes} <- changes(changes),
         {:ok, options} <- Options.call(options, [:note, :tags, :write_id]),
         {:ok, content} <- content(changes) do
      payload = Map.merge(content, Stored.payload(options, [:note, :tags]))

      dspex
      |> Stored.write("program.update", payload, Program.to_meta(program), options)
      |> Stored.read(&Program.from_wire/1)
    end
  end

  @doc "The same, or raises `DSPex.Error`."
  @spec update!(DSPex.t(), program(), keyword() | map(), keyword()) :: Program.t()
  def update!(dspex, program, changes, options \\ []),
    do: Error.bang(update(dspex, program, changes, options))

  @doc """
  Brings an older version back: stores its content as a new version, and returns its handle.

  With a handle that has a version, that must be the newest, as in `update/4`.
  Options: `note:`; `write_id:`.
  """
  @spec rollback(DSPex.t(), program(), pos_integer(), keyword()) :: DSPex.result(Program.t())
  def rollback(dspex, program, version, options \\ []) do
    with {:ok, program} <- untagged(program),
         {:ok, version} <- version("version", version),
         {:ok, options} <- Options.call(options, [:note, :write_id]) do
      payload = options |> Map.put(:newest, program.version) |> Stored.payload([:newest, :note])

      dspex
      |> Stored.write("program.rollback", payload, Program.to_meta(%{program | version: version}), options)
      |> Stored.read(&Program.from_wire/1)
    end
  end

  @doc "The same, or raises `DSPex.Error`."
  @spec rollback!(DSPex.t(), program(), pos_integer(), keyword()) :: Program.t()
  def rollback!(dspex, program, version, options \\ []),
    do: Error.bang(rollback(dspex, program, version, options))

  @doc """
  Has a tag point to a version, given by its handle; where it pointed before does not matter.

      :ok = DSPex.Programs.tag(dspex, DSPex.Program.new("qa", 3), "stable")
  """
  @spec tag(DSPex.t(), Program.t(), String.t() | atom(), keyword()) :: :ok | {:error, Error.t()}
  def tag(dspex, program, tag, options \\ []) do
    with {:ok, program} <- untagged(program),
         {:ok, _version} <- version("program.version", program.version) do
      set_tag(dspex, "program.tag", Program.to_meta(program), tag, options)
    end
  end

  @doc "The same, or raises `DSPex.Error`."
  @spec tag!(DSPex.t(), Program.t(), String.t() | atom(), keyword()) :: :ok
  def tag!(dspex, program, tag, options \\ []) do
    with {:error, error} <- tag(dspex, program, tag, options), do: raise(error)
  end

  @doc "Takes a tag away from a program; the version that had it stays."
  @spec untag(DSPex.t(), program(), String.t() | atom(), keyword()) :: :ok | {:error, Error.t()}
  def untag(dspex, program, tag, options \\ []) do
    with {:ok, meta} <- id(program), do: set_tag(dspex, "program.untag", meta, tag, options)
  end

  @doc "The same, or raises `DSPex.Error`."
  @spec untag!(DSPex.t(), program(), String.t() | atom(), keyword()) :: :ok
  def untag!(dspex, program, tag, options \\ []) do
    with {:error, error} <- untag(dspex, program, tag, options), do: raise(error)
  end

  defp set_tag(dspex, method, meta, tag, options) do
    with {:ok, options} <- Options.call(options, [:write_id]),
         {:ok, tag} <- Options.call([tag: tag], [:tag]) do
      dspex |> Stored.write(method, Stored.payload(tag, [:tag]), meta, options) |> Stored.done()
    end
  end

  @doc "Deletes a program with all its versions and tags. Option: `write_id:`."
  @spec delete(DSPex.t(), program(), keyword()) :: :ok | {:error, Error.t()}
  def delete(dspex, program, options \\ []) do
    with {:ok, meta} <- id(program), {:ok, options} <- Options.call(options, [:write_id]) do
      dspex |> Stored.write("program.delete", %{}, meta, options) |> Stored.done()
    end
  end

  @doc "The same, or raises `DSPex.Error`."
  @spec delete!(DSPex.t(), program(), keyword()) :: :ok
  def delete!(dspex, program, options \\ []) do
    with {:error, error} <- delete(dspex, program, options), do: raise(error)
  end

  @doc """
  Stores what an export made: a new program, or a new version where there is one of that id.

  Options: `program:` the id wanted, else the document's; `format:` `:dspex` unless told
  otherwise, or `:dspy` for what DSPy's own `save` has written; `spec:` for `:dspy`, which
  holds no structure; `note:`; `write_id:`.
  """
  @spec import(DSPex.t(), String.t(), keyword()) :: DSPex.result(Program.t())
  def import(dspex, document, options \\ []) do
    with {:ok, document} <- document(document),
         {:ok, options} <- Options.call(options, [:format, :note, :program, :spec, :write_id]),
         {:ok, content} <- content(Map.take(options, [:spec])) do
      payload =
        options |> Stored.payload([:format, :note]) |> Map.merge(content) |> Map.put("document", document)

      dspex
      |> Stored.write("program.import", payload, Stored.payload(options, [:program]), options)
      |> Stored.read(&Program.from_wire/1)
    end
  end

  @doc "The same, or raises `DSPex.Error`."
  @spec import!(DSPex.t(), String.t(), keyword()) :: Program.t()
  def import!(dspex, document, options \\ []), do: Error.bang(__MODULE__.import(dspex, document, options))

  # -- reading ---------------------------------------------------------------------------

  @doc "One version of a program with all that is known of it: by its handle, or the newest by its id."
  @spec get(DSPex.t(), program(), keyword()) :: DSPex.result(Record.t())
  def get(dspex, program, options \\ []) do
    with {:ok, program} <- Program.from(program), {:ok, options} <- Options.call(options, []) do
      dspex
      |> Stored.ask("program.get", %{}, Program.to_meta(program), options)
      |> Stored.read(&Record.from_wire/1)
    end
  end

  @doc "The same, or raises `DSPex.Error`."
  @spec get!(DSPex.t(), program(), keyword()) :: Record.t()
  def get!(dspex, program, options \\ []), do: Error.bang(get(dspex, program, options))

  @doc """
  A page of the stored programs.

      {:ok, page} = DSPex.Programs.list(dspex, tag: "stable", sort: :updated, descending: true)
      for row <- page.entries, do: {row.program.id, row.module, row.tags}

  Options that choose: `prefix:` only ids that begin so; `tag:` only programs that have that
  tag; `module:` only those of a DSPy module, such as `"Predict"` or `:chain_of_thought`.
  That order: `sort:` `:program` (the id) unless told otherwise, `:created` or `:updated`;
  `descending: true`. And `limit:` programs at most, 100 unless told otherwise, at most
  1,000; `after:` the `next` of the page before.
  """
  @spec list(DSPex.t(), keyword()) :: DSPex.result(Page.t(Summary.t()))
  def list(dspex, options \\ []) do
    keys = [:after, :descending, :limit, :module, :prefix, :sort, :tag]

    with {:ok, options} <- Options.call(options, keys), {:ok, options} <- module(options) do
      dspex
      |> Stored.ask("program.list", Stored.payload(options, keys), %{}, options)
      |> Stored.read(&Page.from_wire(&1, "programs", fn row -> Summary.from_wire(row) end))
    end
  end

  @doc "The same, or raises `DSPex.Error`."
  @spec list!(DSPex.t(), keyword()) :: Page.t(Summary.t())
  def list!(dspex, options \\ []), do: Error.bang(list(dspex, options))

  @doc """
  A lazy stream of all stored programs, page by page, with the options of `list/2`; raises `DSPex.Error`.

  `timeout:` is each page's. Programs that come and go meanwhile may or may not be in it;
  none is in it twice.
  """
  @spec stream(DSPex.t(), keyword()) :: Enumerable.t()
  def stream(dspex, options \\ []), do: Stored.stream(options, :after, &list(dspex, &1))

  @doc """
  A page of a program's versions, the newest first.

  Options: `limit:` versions at most, 100 unless told otherwise, at most 1,000; `before:`
  the `next` of the page before, which is the number of a version.
  """
  @spec versions(DSPex.t(), program(), keyword()) :: DSPex.result(Page.t(Version.t()))
  def versions(dspex, program, options \\ []) do
    keys = [:before, :limit]

    with {:ok, %{"program" => id} = meta} <- id(program), {:ok, options} <- Options.call(options, keys) do
      dspex
      |> Stored.ask("program.versions", Stored.payload(options, keys), meta, options)
      |> Stored.read(&Page.from_wire(&1, "versions", fn row -> Version.from_wire(row, id) end))
    end
  end

  @doc "The same, or raises `DSPex.Error`."
  @spec versions!(DSPex.t(), program(), keyword()) :: Page.t(Version.t())
  def versions!(dspex, program, options \\ []), do: Error.bang(versions(dspex, program, options))

  @doc """
  What differs between two versions of a program, `{old, new}`.

      {:ok, changes} = DSPex.Programs.diff(dspex, "qa", {1, 2})
      for change <- changes, do: {change.path, change.change}
      #=> [{"state.self.instructions", :changed}]
  """
  @spec diff(DSPex.t(), program(), {pos_integer(), pos_integer()}, keyword()) :: DSPex.result([Change.t()])
  def diff(dspex, program, versions, options \\ []) do
    with {:ok, meta} <- id(program),
         {:ok, payload} <- two_versions(versions),
         {:ok, options} <- Options.call(options, []) do
      dspex
      |> Stored.ask("program.diff", payload, meta, options)
      |> Stored.read(fn answer -> Enum.map(answer["changes"] || [], &Change.from_wire/1) end)
    end
  end

  @doc "The same, or raises `DSPex.Error`."
  @spec diff!(DSPex.t(), program(), {pos_integer(), pos_integer()}, keyword()) :: [Change.t()]
  def diff!(dspex, program, versions, options \\ []), do: Error.bang(diff(dspex, program, versions, options))

  @doc """
  A program as one JSON document, a string: the version of the handle, or the newest.

  Options: `format:` `:dspex` unless told otherwise, with everything, for `import/3`; or
  `:dspy`, which DSPy's own `load` reads; `versions:` `:one` unless told otherwise, or
  `:all`, for `:dspex` only.
  """
  @spec export(DSPex.t(), program(), keyword()) :: DSPex.result(String.t())
  def export(dspex, program, options \\ []) do
    keys = [:format, :versions]

    with {:ok, program} <- Program.from(program), {:ok, options} <- Options.call(options, keys) do
      dspex
      |> Stored.ask("program.export", Stored.payload(options, keys), Program.to_meta(program), options)
      |> Stored.read(& &1["document"])
    end
  end

  @doc "The same, or raises `DSPex.Error`."
  @spec export!(DSPex.t(), program(), keyword()) :: String.t()
  def export!(dspex, program, options \\ []), do: Error.bang(export(dspex, program, options))

  # -- what is checked before anything is sent ---------------------------------------------

  defp id(program) do
    with {:ok, program} <- Program.from(program), do: {:ok, %{"program" => program.id}}
  end

  defp untagged(program) do
    with {:ok, program} <- Program.from(program) do
      if program.tag,
        do:
          {:error,
           Error.invalid_argument(
             "program.tag",
             "no tag: what is written names a version, or none",
             program.tag
           )},
        else: {:ok, program}
    end
  end

  defp version(_field, number) when is_integer(number) and number > 0, do: {:ok, number}

  defp version(field, other),
    do: {:error, Error.invalid_argument(field, "the number of a version, from 1", other)}

  defp two_versions({old, new}) do
    with {:ok, old} <- version("old", old),
         {:ok, new} <- version("new", new),
         do: {:ok, %{"old" => old, "new" => new}}
  end

  defp two_versions(other),
    do: {:error, Error.invalid_argument("versions", "{old, new}, two numbers of versions", other)}

  defp changes(changes) when is_map(changes) and not is_struct(changes),
    do: changes |> Map.to_list() |> changes()

  defp changes(changes) do
    cond do
      not Keyword.keyword?(changes) ->
        {:error, Error.unshown("changes", "a keyword list or map of spec and state", changes)}

      key = Enum.find(Keyword.keys(changes), &(&1 not in [:spec, :state])) ->
        {:error, Error.in_words("changes.#{key}", "one of spec, state", "an unknown key")}

      true ->
        {:ok, Map.new(changes)}
    end
  end

  # Spec and state, as far as there are such.
  defp content(options) do
    with {:ok, spec} <- part(options, :spec, &spec/1),
         {:ok, state} <- part(options, :state, &State.to_wire/1) do
      {:ok, Map.merge(spec, state)}
    end
  end

  defp part(options, key, to_wire) do
    case options do
      %{^key => source} -> with {:ok, wire} <- to_wire.(source), do: {:ok, %{Atom.to_string(key) => wire}}
      _ -> {:ok, %{}}
    end
  end

  defp spec(source), do: with({:ok, spec} <- Spec.from(source), do: {:ok, Spec.to_wire(spec)})

  defp module(%{module: name} = options),
    do: with({:ok, name} <- Spec.module_name(name), do: {:ok, %{options | module: name}})

  defp module(options), do: {:ok, options}

  defp document(text) when is_binary(text), do: {:ok, text}
  defp document(other), do: {:error, Error.unshown("document", "the string that an export returned", other)}
end
