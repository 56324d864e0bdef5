defmodule DSPex.LM.Trial do
  @moduledoc """
  What came of trying a language model: whether it is `ok?`, and if not its `error`, a
  `DSPex.Error`; how long it took (`latency_ms`); `usage`, tokens and cost of the one request.
  """

  alias DSPex.Error

  @enforce_keys [:lm, :ok?]
  defstruct [:lm, :model, :ok?, :latency_ms, :error, usage: %{}, meta: %{}]

  @type t :: %__MODULE__{
          lm: String.t(),
          model: String.t() | nil,
          ok?: boolean(),
          latency_ms: float() | nil,
          error: Error.t() | nil,
          usage: map(),
          meta: map()
        }

  @doc false
  @spec from_wire(term(), map()) :: {:ok, t()} | {:error, Error.t()}
  def from_wire(%{"ok" => ok, "lm" => lm} = value, meta) when is_boolean(ok) do
    {:ok,
     %__MODULE__{
       lm: lm,
       model: value["model"],
       ok?: ok,
       latency_ms: value["latency_ms"],
       error: value["error"] && Error.from_wire(value["error"]),
       usage: value["usage"] || %{},
       meta: meta
     }}
  end

  def from_wire(other, _meta) do
    {:error,
     Error.new(:internal, "an outcome was expected, #{inspect(other, limit: 3, printable_limit: 40)} came")}
  end
end
