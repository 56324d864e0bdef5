defmodule DSPex.Error do
  @moduledoc """
  The one exception of DSPex: what went wrong, whose fault it is, and whether to try again.

  `type` is a closed set of atoms, the codes of the protocol. A code that this version
  does not know becomes `:internal`; the original stands in `details["code"]`.

  | fault | types |
  |---|---|
  | `:wire` | the other side broke the protocol: `frame_…`, `envelope_…`, `value_…`, `handshake_…`, `credit_exceeded` |
  | `:caller` | the call asks for something that cannot be: `invalid_argument`, `unknown_…`, `program_exists`, … |
  | `:service` | it could not be done now: `overloaded`, `deadline`, `cancelled`, `worker_died`, `connection_lost`, … |
  | `:program` | the program or its model failed: `prediction_failed`, `function_failed`, `lm_…` |

      iex> error = DSPex.Error.new(:deadline, "the call's time was over")
      iex> {error.type, error.fault, error.retryable?}
      {:deadline, :service, true}
      iex> Exception.message(error)
      "deadline: the call's time was over"
  """

  @wire ~w(frame_empty frame_too_large frame_truncated envelope_invalid envelope_too_large
    call_id_reused credit_exceeded handshake_required handshake_repeated handshake_failed
    value_truncated value_trailing value_too_deep value_too_many_items value_duplicate_key
    value_bad_key value_bad_utf8 value_reserved_byte value_unknown_extension
    value_bad_extension value_unencodable)a
  @caller ~w(invalid_argument unknown_method unknown_program program_exists unknown_lm
    unknown_function callback_too_deep not_permitted)a
  @service ~w(overloaded unavailable boot_failed worker_died poisoned deadline cancelled
    draining connection_lost result_too_large internal)a
  @program ~w(prediction_failed program_failed function_failed function_timeout
    lm_not_configured lm_auth lm_rate_limited lm_context_window lm_invalid_request
    lm_timeout lm_unavailable lm_error)a
  @retryable ~w(overloaded unavailable worker_died deadline draining connection_lost
    prediction_failed function_timeout lm_rate_limited lm_timeout lm_unavailable)a

  @types @wire ++ @caller ++ @service ++ @program
  @by_code Map.new(@types, &{Atom.to_string(&1), &1})

  @typedoc "Whose fault an error is."
  @type fault :: :wire | :caller | :service | :program

  @typedoc "A code of the protocol as an atom; `types/0` lists them."
  @type type :: atom()

  @type t :: %__MODULE__{
          type: type(),
          fault: fault(),
          message: String.t(),
          details: %{optional(String.t()) => term()},
          retryable?: boolean(),
          maybe_executed?: boolean(),
          retry_after_ms: non_neg_integer() | nil
        }

  defexception type: :internal,
               fault: :service,
               message: "",
               details: %{},
               retryable?: false,
               maybe_executed?: false,
               retry_after_ms: nil

  @doc "All types, in the order of the protocol's table."
  @spec types() :: [type()]
  def types, do: @types

  @doc """
  Builds an error.

  Options: `:details` (a map), `:retryable?` (default: as the table says),
  `:maybe_executed?` (default `false`), `:retry_after_ms`.
  """
  @spec new(type(), String.t(), keyword()) :: t()
  def new(type, message, options \\ []) when type in @types and is_binary(message) do
    %__MODULE__{
      type: type,
      fault: fault(type),
      message: message,
      details: Keyword.get(options, :details, %{}),
      retryable?: Keyword.get(options, :retryable?, type in @retryable),
      maybe_executed?: Keyword.get(options, :maybe_executed?, false),
      retry_after_ms: Keyword.get(options, :retry_after_ms)
    }
  end

  @doc """
  Builds an `:invalid_argument` that names the field, what was expected and what came.

      iex> DSPex.Error.invalid_argument("timeout", "milliseconds from 1", "soon").message
      "timeout: expected milliseconds from 1, got \\"soon\\""
  """
  @spec invalid_argument(String.t(), String.t(), term()) :: t()
  def invalid_argument(field, expected, got) do
    came = inspect(got, limit: 5, printable_limit: 60)

    new(:invalid_argument, "#{field}: expected #{expected}, got #{came}",
      details: %{"field" => field, "expected" => expected, "got" => came}
    )
  end

  @doc "Reads the decoded payload of a FAIL. Never raises."
  @spec from_wire(term()) :: t()
  def from_wire(%{"code" => code} = fields) when is_binary(code) do
    type = Map.get(@by_code, code, :internal)
    details = if is_map(fields["details"]), do: fields["details"], else: %{}

    new(type, text(fields["message"], code),
      details: if(is_map_key(@by_code, code), do: details, else: Map.put(details, "code", code)),
      retryable?: fields["retryable"] == true,
      maybe_executed?: fields["maybe_executed"] == true,
      retry_after_ms: milliseconds(fields["retry_after_ms"])
    )
  end

  def from_wire(_other), do: new(:internal, "the other side sent an error that cannot be read")

  @doc "The map that crosses the wire in a FAIL."
  @spec to_wire(t()) :: map()
  def to_wire(%__MODULE__{} = error) do
    %{
      "code" => Atom.to_string(error.type),
      "message" => error.message,
      "retryable" => error.retryable?,
      "maybe_executed" => error.maybe_executed?,
      "retry_after_ms" => error.retry_after_ms,
      "details" => error.details
    }
  end

  @impl true
  def message(%__MODULE__{type: type, message: message}), do: "#{type}: #{message}"

  defp fault(type) when type in @wire, do: :wire
  defp fault(type) when type in @caller, do: :caller
  defp fault(type) when type in @service, do: :service
  defp fault(type) when type in @program, do: :program

  defp text(message, _code) when is_binary(message), do: message
  defp text(_other, code), do: "an error without a message, code #{code}"

  defp milliseconds(number) when is_integer(number) and number >= 0, do: number
  defp milliseconds(_other), do: nil
end
