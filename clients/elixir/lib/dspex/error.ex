defmodule DSPex.Error do
  @moduledoc """
  The one exception of DSPex: what went wrong, whose fault it is, and whether to try again.

  `type` is a closed set of atoms, the codes of the protocol. A code that this version
  does not know becomes `:internal`; the original stands in `details["code"]`.

  | fault | types |
  |---|---|
  | `:wire` | the other side broke the protocol: `frame_…`, `envelope_…`, `value_…`, `handshake_…`, `credit_exceeded` |
  | `:caller` | the call asks for something that cannot be: `invalid_argument`, `unknown_…`, `version_conflict`, … |
  | `:service` | it could not be done now: `overloaded`, `deadline`, `worker_died`, `session_busy`, `store_…`, … |
  | `:program` | the program or its model failed: `prediction_failed`, `function_failed`, `lm_…` |

  Whether to make the same call again is in three fields. `retryable?`: it may succeed
  later, `retry_after_ms` (where it is not nil) says when. `maybe_executed?`: it may have
  happened already. A write of `DSPex.Programs` can be made again all the same, with the
  `write_id` that stands in `details["write_id"]` of its error.

  ## Of stored programs and sessions

  | type | what it means | in `details` |
  |---|---|---|
  | `:unknown_program`, `:program_exists` | no program of that id, version or tag; the id is taken | |
  | `:version_conflict` | somebody has stored a newer version than the one that was named | `"newest"` |
  | `:write_id_reused` | that `write_id` was another write's, within 24 hours | |
  | `:program_damaged` | that version cannot be read any more | `"version"`, and `"previous"`: the newest before it that is sound, or nil |
  | `:record_too_new` | a newer DSPex wrote it, and it is left as it is | |
  | `:unknown_experiment` | no experiment of that id, or no such run of it | `"run"`, where only that is not there |
  | `:unknown_dataset` | no dataset of that id and version | `"newest"`, where only the version is not there |
  | `:unknown_evaluation`, `:evaluation_exists` | no evaluation of that id; it was begun with another request | |
  | `:evaluation_taken` | another run has gone on with that evaluation | |
  | `:unknown_session`, `:session_exists` | it was closed, forgotten, or never was; the id is taken | |
  | `:session_busy` | another server has it: come back after `retry_after_ms` | |
  | `:store_unavailable` | the store gave no answer in time; `maybe_executed?` of a write that was on its way | |
  | `:store_full`, `:store_read_only` | what is there can be read, and nothing can be written | |
  | `:store_refused`, `:store_rewound`, `:store_damaged` | it cannot be used as it stands; has lost what it had acknowledged; is broken: for its operator | |

  Predictions with programs that the server knows go on while its store is away.

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
  @caller ~w(invalid_argument unknown_method unknown_program program_exists version_conflict
    write_id_reused record_too_new unknown_dataset unknown_evaluation evaluation_exists
    unknown_experiment unknown_session session_exists unknown_job job_key_reused job_not_done
    unknown_lm unknown_function callback_too_deep not_permitted)a
  @service ~w(overloaded unavailable boot_failed worker_died poisoned deadline cancelled
    draining connection_lost result_too_large evaluation_taken session_busy program_damaged store_unavailable
    store_full store_read_only store_refused store_rewound store_damaged budget_spent internal)a
  @program ~w(prediction_failed program_failed function_failed function_timeout
    metric_failed metric_timeout finetune_failed lm_not_configured lm_auth lm_rate_limited
    lm_context_window lm_invalid_request lm_timeout lm_unavailable lm_error)a
  @retryable ~w(overloaded unavailable worker_died deadline draining connection_lost
    session_busy job_not_done store_unavailable prediction_failed function_timeout metric_timeout lm_rate_limited
    lm_timeout lm_unavailable)a

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
    in_words(field, expected, inspect(got, limit: 5, printable_limit: 60))
  end

  @doc false
  # The same with what came in words: where the value must not be printed, or is just a name.
  @spec in_words(String.t(), String.t(), String.t()) :: t()
  def in_words(field, expected, came) do
    new(:invalid_argument, "#{field}: expected #{expected}, got #{came}",
      details: %{"field" => field, "expected" => expected, "got" => came}
    )
  end

  @doc false
  # Of secrets, and of what people have said, only what kind of thing came.
  @spec unshown(String.t(), String.t(), term()) :: t()
  def unshown(field, expected, got), do: in_words(field, expected, kind(got))

  defp kind(nil), do: "nil"
  defp kind(""), do: "an empty string"
  defp kind(value) when is_binary(value), do: "a string"
  defp kind(value) when is_struct(value), do: "a #{inspect(value.__struct__)}"

  defp kind(value) when is_map(value),
    do: "a map with keys #{value |> Map.keys() |> Enum.sort() |> inspect(limit: 8)}"

  defp kind(value) when is_list(value), do: "a list"
  defp kind(value) when is_number(value), do: "a number"
  defp kind(value) when is_atom(value), do: "an atom"
  defp kind(value) when is_function(value), do: "a function"
  defp kind(_other), do: "something else"

  @doc false
  # What the functions with a `!` make of an outcome.
  @spec bang({:ok, value} | {:error, t()}) :: value when value: term()
  def bang({:ok, value}), do: value
  def bang({:error, error}), do: raise(error)

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
