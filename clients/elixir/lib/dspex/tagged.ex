defmodule DSPex.Tagged do
  @moduledoc """
  A value with the name of what it stands for, such as `image` or `prediction`.

  Tags that Elixir has a type for (`date`, `time`, `datetime`, `tuple`, `set`) become that
  type; all others stay a tagged pair, also unknown ones.

      iex> %DSPex.Tagged{tag: "history", value: %{"messages" => []}}.tag
      "history"
  """
  @enforce_keys [:tag, :value]
  defstruct [:tag, :value]

  @type t :: %__MODULE__{tag: String.t(), value: term()}
end
