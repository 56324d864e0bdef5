defmodule DSPex.Program do
  @moduledoc """
  A handle on a stored program, safe to store and to send around: its id, and which version.

      iex> DSPex.Program.new("qa")
      %DSPex.Program{id: "qa", version: nil, tag: nil}
      iex> DSPex.Program.new("qa", 3)
      %DSPex.Program{id: "qa", version: 3, tag: nil}
      iex> DSPex.Program.new("qa", tag: "stable")
      %DSPex.Program{id: "qa", version: nil, tag: "stable"}

  | handle | to predict, read, export, open a session | to write |
  |---|---|---|
  | `new("qa")`, or just `"qa"` | the newest version | whatever is the newest |
  | `new("qa", 3)` | version 3 | only while 3 is the newest, else `:version_conflict` |
  | `new("qa", tag: "stable")` | the version that has the tag when the call is made | not by a tag |

  So an application that says `DSPex.Program.new("qa", tag: "stable")` follows the tag:
  moving it by `DSPex.Programs.tag/4` puts another version to use, and moving it back takes
  it out again, without a deployment.
  """

  alias DSPex.{Error, Name}

  @enforce_keys [:id]
  defstruct [:id, :version, :tag]

  @type t :: %__MODULE__{id: String.t(), version: pos_integer() | nil, tag: String.t() | nil}

  @doc "A handle on the program of that id, at the newest version, at a given one, or at a tag."
  @spec new(String.t(), pos_integer() | nil | [version: pos_integer(), tag: String.t() | atom()]) :: t()
  def new(id, version \\ nil)
  def new(id, tag: tag), do: %__MODULE__{id: id, tag: if(is_atom(tag), do: to_string(tag), else: tag)}
  def new(id, version: version), do: new(id, version)
  def new(id, version) when is_nil(version) or is_integer(version), do: %__MODULE__{id: id, version: version}

  @doc false
  # The handle that a function was given, or the id, checked: it may have come from anywhere.
  @spec from(term()) :: {:ok, t()} | {:error, Error.t()}
  def from(id) when is_binary(id), do: from(%__MODULE__{id: id})

  def from(%__MODULE__{} = program) do
    cond do
      not (is_binary(program.id) and Name.id?(program.id)) ->
        invalid("program", "a DSPex.Program or #{Name.id()}", program.id)

      program.version != nil and not (is_integer(program.version) and program.version > 0) ->
        invalid("program.version", "the number of a version, from 1", program.version)

      program.tag != nil and not (is_binary(program.tag) and Name.tag?(program.tag)) ->
        invalid("program.tag", Name.tag(), program.tag)

      program.tag != nil and program.version != nil ->
        invalid("program.tag", "nothing beside a version", program.tag)

      true ->
        {:ok, program}
    end
  end

  def from(other), do: invalid("program", "a DSPex.Program or #{Name.id()}", other)

  defp invalid(field, expected, got), do: {:error, Error.invalid_argument(field, expected, got)}

  @doc false
  @spec to_meta(t()) :: map()
  def to_meta(%__MODULE__{id: id, version: version, tag: tag}) do
    for {key, value} <- [{"program", id}, {"version", version}, {"tag", tag}],
        value != nil,
        into: %{},
        do: {key, value}
  end

  @doc false
  # Of an answer that says which version it is about.
  @spec from_wire(map()) :: t()
  def from_wire(%{"program" => id} = answer), do: %__MODULE__{id: id, version: answer["version"]}
end
