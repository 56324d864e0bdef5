defmodule DSPex.Tagged do
  @moduledoc """
  A value with the name of what it stands for, such as `image` or `prediction`.

  Tags that Elixir has a type for (`date`, `time`, `datetime`, `tuple`, `set`) become that
  type; all others stay a tagged pair, also unknown ones.

      iex> %DSPex.Tagged{tag: "history", value: %{"messages" => []}}.tag
      "history"

  Durations and UUIDs are pairs too: Elixir 1.14 has a type for neither. Building one by
  `duration/1` or `uuid/1` makes it what Python takes it for, `datetime.timedelta` and `uuid.UUID`.
  """
  @enforce_keys [:tag, :value]
  defstruct [:tag, :value]

  @type t :: %__MODULE__{tag: String.t(), value: term()}

  @uuid ~r/\A[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\z/

  @doc """
  A duration in microseconds, also negative.

      iex> DSPex.Tagged.duration(1_500_000)
      %DSPex.Tagged{tag: "duration", value: 1_500_000}
  """
  @spec duration(integer()) :: t()
  def duration(microseconds) when is_integer(microseconds),
    do: %__MODULE__{tag: "duration", value: microseconds}

  @doc """
  A UUID of 36 characters; capital letters become small, as the protocol wants them.

      iex> {:ok, uuid} = DSPex.Tagged.uuid("00112233-4455-6677-8899-AABBCCDDEEFF")
      iex> uuid.value
      "00112233-4455-6677-8899-aabbccddeeff"
      iex> DSPex.Tagged.uuid("0011")
      :error
  """
  @spec uuid(String.t()) :: {:ok, t()} | :error
  def uuid(text) when is_binary(text) do
    text = String.downcase(text, :ascii)
    if text =~ @uuid, do: {:ok, %__MODULE__{tag: "uuid", value: text}}, else: :error
  end
end
