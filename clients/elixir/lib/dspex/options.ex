defmodule DSPex.Options do
  @moduledoc """
  The options of an instance and of a call, each checked with a message that names the
  key, what was expected and what came.

      iex> {:error, error} = DSPex.Options.call(timeout: "soon")
      iex> error.message
      "timeout: expected milliseconds from 1 to 86400000, got \\"soon\\""
      iex> {:error, error} = DSPex.Options.call(time_out: 5)
      iex> error.message
      "time_out: expected one of adapter, config, credit, events, history, lane, lm, on_violation, parent, priority, program, retriever, tenant, timeout, trace, got an unknown option"
      iex> {:error, error} = DSPex.Options.instance([])
      iex> error.message
      "name: expected an atom, such as MyApp.DSPex, got nil"
  """

  alias DSPex.{Callback, Choices, Error}
  alias DSPex.Options.Stored
  alias DSPex.Transport.Socket

  @max_timeout 86_400_000

  # The keys of a call that only some functions take.
  @common ~w(lane parent priority tenant timeout)a
  @extra ~w(adapter config credit events history lm on_violation program retriever trace)a

  # Kinds of elements of a stream.
  @events ~w(token status tool tool_arguments value)

  # What nobody is to read in a log: kept inside of functions.
  @hidden ~w(env lms secrets)a

  # What says how a server is started.
  @starting ~w(args cd command env)a

  @enforce_keys [:name]
  defstruct name: nil,
            address: nil,
            command: ["dspex", "serve"],
            args: [],
            env: nil,
            cd: nil,
            lms: nil,
            functions: %{},
            secrets: nil,
            notes: [],
            require: [],
            tenant: nil,
            tenants: %{},
            client: nil,
            timeout: 120_000,
            max_frame_bytes: 16_777_216,
            handshake_timeout: 30_000,
            silence_timeout: 10_000,
            probe_after: 2_000,
            backoff: {100, 10_000},
            transport: DSPex.Transport.Port,
            transport_options: nil

  @typedoc """
  The checked options of an instance.

  `secrets`, `lms` and `env` are functions that return maps, so that no report, no status
  and no `inspect` shows what is in them.
  """
  @type t :: %__MODULE__{
          name: atom(),
          address: String.t() | nil,
          command: [String.t()],
          args: [String.t()],
          env: (() -> %{optional(String.t()) => String.t() | nil | false}),
          cd: String.t() | nil,
          lms: (() -> %{optional(String.t()) => map()}),
          functions: %{optional(String.t()) => function() | {module(), atom()}},
          secrets: (() -> term()),
          notes: [atom() | String.t()],
          require: [atom() | String.t()],
          tenant: String.t() | nil,
          tenants: %{optional(String.t()) => pos_integer()},
          client: String.t() | nil,
          timeout: pos_integer(),
          max_frame_bytes: pos_integer(),
          handshake_timeout: pos_integer(),
          silence_timeout: pos_integer(),
          probe_after: pos_integer(),
          backoff: {pos_integer(), pos_integer()},
          transport: module(),
          transport_options: term()
        }

  @doc "Puts what nobody is to read of an instance's options into functions; anything else is left for the check."
  @spec hide(term()) :: term()
  def hide(options) do
    if Keyword.keyword?(options),
      do: Enum.map(options, fn {key, value} -> {key, if(key in @hidden, do: hidden(value), else: value)} end),
      else: options
  end

  defp hidden(value) when is_function(value), do: value
  defp hidden(value), do: fn -> value end

  @doc "Checks the options of an instance; `DSPex` lists them."
  @spec instance(keyword()) :: {:ok, t()} | {:error, Error.t()}
  def instance(options) do
    with :ok <- keyword("options", options),
         :ok <- known(options, instance_keys()),
         options = options |> Keyword.put_new(:name, nil) |> shown(),
         :ok <- check(options, &instance_rule/2),
         :ok <- one_server(options),
         {:ok, tenants} <- tenants(options[:tenants] || %{}),
         {:ok, env} <- env(options[:env] || %{}),
         {:ok, lms} <- lms(options[:lms] || %{}),
         {:ok, secrets} <- checked_secrets(options[:secrets] || %{}) do
      checked = struct!(__MODULE__, Keyword.put_new(options, :transport, transport(options[:address])))
      functions = Map.new(checked.functions, fn {name, function} -> {to_string(name), function} end)
      tenant = checked.tenant && to_string(checked.tenant)
      checked = %{checked | functions: functions, tenant: tenant, tenants: tenants}
      {:ok, %{checked | env: hidden(env), lms: hidden(lms), secrets: hidden(secrets)}}
    end
  end

  defp transport(nil), do: DSPex.Transport.Port
  defp transport(_address), do: DSPex.Transport.Socket

  # What starts a server would do nothing where one runs already.
  defp one_server(options) do
    case options[:address] && Enum.find(@starting, &Keyword.has_key?(options, &1)) do
      nil -> :ok
      key -> unshown(to_string(key), "nothing beside address, where no server is started", options[key])
    end
  end

  defp tenants(tenants) do
    case Enum.find(tenants, fn {_name, weight} -> weight not in 1..100 end) do
      nil -> {:ok, Map.new(tenants, fn {name, weight} -> {to_string(name), weight} end)}
      {name, weight} -> invalid("tenants.#{name}", "a weight from 1 to 100", weight)
    end
  end

  # As given: only secrets are asked for later, at each start of a server.
  defp shown(options) do
    Enum.map(options, fn
      {key, value} when key in [:env, :lms] and is_function(value, 0) -> {key, value.()}
      other -> other
    end)
  end

  defp instance_keys do
    %__MODULE__{name: nil} |> Map.from_struct() |> Map.keys() |> Enum.sort()
  end

  @doc """
  Checks the options of a call; returns them as a map.

  `extra` are the keys that only some functions take, all unless told otherwise.
  """
  @spec call(keyword(), [atom()]) :: {:ok, map()} | {:error, Error.t()}
  def call(options, extra \\ @extra) do
    with :ok <- keyword("options", options),
         :ok <- known(options, Enum.sort(extra ++ @common)),
         :ok <- check(options, &call_rule/2) do
      {:ok, Map.new(options)}
    end
  end

  defp keyword(field, options) do
    if Keyword.keyword?(options), do: :ok, else: invalid(field, "a keyword list", options)
  end

  defp known(options, keys) do
    case Enum.find(options, fn {key, _} -> key not in keys end) do
      nil ->
        :ok

      {key, _value} ->
        {:error, Error.in_words(to_string(key), "one of #{Enum.join(keys, ", ")}", "an unknown option")}
    end
  end

  defp check(options, rule) do
    Enum.find_value(options, :ok, fn {key, value} ->
      case rule.(key, value) do
        {true, _expected} -> nil
        {false, expected} -> invalid(to_string(key), expected, value)
      end
    end)
  end

  defp invalid(field, expected, got), do: {:error, Error.invalid_argument(field, expected, got)}

  defp call_rule(:timeout, value), do: milliseconds(value)
  defp call_rule(:lm, value), do: {name?(value), "the name of a language model"}
  defp call_rule(:config, value), do: {options?(value), "a map or keyword list, such as [temperature: 0.5]"}
  defp call_rule(key, value) when key in [:adapter, :on_violation], do: Choices.rule(key, value)
  defp call_rule(:retriever, value), do: {name?(value), "the name of a function of the instance"}
  defp call_rule(key, value) when key in [:again, :history, :trace], do: {is_boolean(value), "true or false"}

  defp call_rule(:events, value),
    do: {names?(value, @events), "a list of " <> Enum.map_join(@events, ", ", &":#{&1}")}

  defp call_rule(:lane, value),
    do: {to_text(value) in ~w(interactive batch control), "one of :interactive, :batch, :control"}

  defp call_rule(:priority, value), do: {is_integer(value) and value in 0..9, "an integer from 0 to 9"}
  defp call_rule(:tenant, value), do: {name?(value), "a name of 1 to 128 bytes"}
  defp call_rule(:parent, value), do: {is_struct(value, Callback), "a DSPex.Callback"}

  defp call_rule(:credit, value),
    do: {is_integer(value) and value in 2..1_000_000, "an integer from 2 to 1000000"}

  defp call_rule(:parallelism, value),
    do: {is_integer(value) and value in 1..1_024, "an integer from 1 to 1024"}

  defp call_rule(:max_errors, value), do: {is_integer(value) and value > 0, "an integer from 1"}
  defp call_rule(:row_timeout, value), do: milliseconds(value)

  defp call_rule(key, value), do: Stored.rule(key, value)

  defp instance_rule(:name, value),
    do: {is_atom(value) and value not in [nil, true, false], "an atom, such as MyApp.DSPex"}

  defp instance_rule(:address, value),
    do:
      {is_nil(value) or match?({:ok, _}, Socket.path(value)),
       "unix: and a path of 1 to 107 bytes, such as unix:/run/dspex.sock"}

  defp instance_rule(:command, value),
    do: {strings?(value) and value != [], "a list of program and arguments"}

  defp instance_rule(:args, value), do: {strings?(value), "a list of strings"}
  # These three are checked by name below: what came must not be printed.
  defp instance_rule(key, _value) when key in @hidden, do: {true, "anything"}
  defp instance_rule(:cd, value), do: {is_nil(value) or is_binary(value), "a directory"}

  defp instance_rule(:functions, value),
    do: {functions?(value), "a map of name to a function of 1 or 2 arguments or {module, name}"}

  defp instance_rule(:notes, value), do: {names?(value, ~w(log event)), "a list of :log and :event"}
  defp instance_rule(:require, value), do: {names?(value, nil), "a list of capabilities"}

  defp instance_rule(:tenant, value), do: {is_nil(value) or name?(value), "a name of 1 to 128 bytes"}
  defp instance_rule(:tenants, value), do: {weights?(value), "a map of name, 1 to 128 bytes, to weight"}

  defp instance_rule(:client, value),
    do: {is_nil(value) or is_binary(value), "name and version of your application"}

  defp instance_rule(:timeout, value), do: milliseconds(value)
  defp instance_rule(:handshake_timeout, value), do: milliseconds(value)
  defp instance_rule(:silence_timeout, value), do: milliseconds(value)
  defp instance_rule(:probe_after, value), do: milliseconds(value)
  defp instance_rule(:backoff, value), do: {backoff?(value), "{first, longest} in milliseconds"}

  defp instance_rule(:max_frame_bytes, value),
    do: {is_integer(value) and value in 4096..0xFFFFFFFF, "bytes from 4096 to 4294967295"}

  defp instance_rule(:transport, value), do: {is_atom(value), "a module with the behaviour DSPex.Transport"}
  defp instance_rule(:transport_options, _value), do: {true, "anything"}

  defp milliseconds(value),
    do: {is_integer(value) and value in 1..@max_timeout, "milliseconds from 1 to #{@max_timeout}"}

  defp name?(value), do: byte_size(to_text(value)) in 1..128
  defp options?(value), do: is_map(value) or Keyword.keyword?(value)
  defp strings?(value), do: is_list(value) and Enum.all?(value, &is_binary/1)
  defp to_text(value) when is_binary(value), do: value
  defp to_text(value) when is_atom(value) and not is_nil(value), do: Atom.to_string(value)
  defp to_text(_other), do: ""

  defp names?(value, allowed) do
    is_list(value) and Enum.all?(value, &(name?(&1) and (allowed == nil or to_text(&1) in allowed)))
  end

  defp functions?(value),
    do: options?(value) and Enum.all?(value, fn {name, it} -> name?(name) and function?(it) end)

  defp weights?(value) when is_map(value) and not is_struct(value), do: weights?(Map.to_list(value))

  defp weights?(value),
    do: is_list(value) and Enum.all?(value, &(match?({_name, _weight}, &1) and name?(elem(&1, 0))))

  defp function?({module, name}), do: is_atom(module) and is_atom(name)
  defp function?(value), do: is_function(value, 1) or is_function(value, 2)

  defp backoff?({first, longest}),
    do: is_integer(first) and is_integer(longest) and first > 0 and longest >= first

  defp backoff?(_other), do: false

  # -- what must not be printed ----------------------------------------------------------

  @doc false
  # What a user's function returned, or the map itself.
  @spec secrets(term()) :: {:ok, %{optional(String.t()) => String.t()}} | {:error, Error.t()}
  def secrets(secrets), do: entries("secrets", secrets, "a string", &is_binary/1, & &1)

  defp checked_secrets(function) when is_function(function, 0), do: {:ok, function}
  defp checked_secrets(secrets), do: secrets(secrets)

  defp env(env),
    do: entries("env", env, "a string, or nil to unset", &(is_binary(&1) or &1 in [nil, false]), & &1)

  # A language model is a map, or just its name as in DSPy.
  defp lms(lms) do
    expected = "a string such as \"openai/gpt-4o-mini\" or a map with model"
    entries("lms", lms, expected, &lm?/1, &lm/1)
  end

  defp lm?(lm) when is_binary(lm), do: lm != ""
  defp lm?(lm), do: options?(lm) and not is_struct(lm) and has_model?(Map.new(lm))
  defp has_model?(lm), do: is_binary(lm[:model] || lm["model"])

  defp entries(field, entries, expected, fits?, read) do
    with {:ok, pairs} <- pairs(field, entries) do
      case Enum.find(pairs, fn {_name, value} -> not fits?.(value) end) do
        nil -> {:ok, Map.new(pairs, fn {name, value} -> {name, read.(value)} end)}
        {name, value} -> unshown("#{field}.#{name}", expected, value)
      end
    end
  end

  defp pairs(field, entries) when (is_map(entries) and not is_struct(entries)) or is_list(entries) do
    if Enum.all?(entries, &match?({name, _} when is_binary(name) or is_atom(name), &1)),
      do: {:ok, Enum.map(entries, fn {name, value} -> {to_string(name), value} end)},
      else: unshown(field, "a map or keyword list of names", entries)
  end

  defp pairs(field, other), do: unshown(field, "a map or keyword list of names", other)

  defp unshown(field, expected, value), do: {:error, Error.unshown(field, expected, value)}

  defp lm(model) when is_binary(model), do: %{"model" => model}
  defp lm(fields), do: Map.new(fields, fn {key, value} -> {to_string(key), plain(value)} end)

  @doc false
  # Keyword lists in configurations are maps on the wire, not lists of tuples.
  @spec plain(term()) :: term()
  def plain([{key, _} | _] = keyword) when is_atom(key),
    do: Map.new(keyword, fn {key, value} -> {key, plain(value)} end)

  def plain([[{key, _} | _] | _] = keywords) when is_atom(key), do: Enum.map(keywords, &plain/1)
  def plain(value), do: value
end
