defmodule DSPex.Program do
  @moduledoc """
  A handle on a stored program: its id and version, safe to store and to send around.

  Without a version it means the newest.

      iex> DSPex.Program.new("qa")
      %DSPex.Program{id: "qa", version: nil}
  """
  @enforce_keys [:id]
  defstruct [:id, :version]

  @type t :: %__MODULE__{id: String.t(), version: pos_integer() | nil}

  @doc "A handle on the program of that id, at that version or the newest."
  @spec new(String.t(), pos_integer() | nil) :: t()
  def new(id, version \\ nil) when is_binary(id), do: %__MODULE__{id: id, version: version}

  @doc false
  @spec to_meta(t()) :: map()
  def to_meta(%__MODULE__{id: id, version: nil}), do: %{"program" => id}
  def to_meta(%__MODULE__{id: id, version: version}), do: %{"program" => id, "version" => version}
end
