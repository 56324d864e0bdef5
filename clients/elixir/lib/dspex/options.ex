defmodule DSPex.Options do
  @moduledoc """
  The options of an instance and of a call, each checked with a message that names the
  key, what was expected and what came.

      iex> {:error, error} = DSPex.Options.call(timeout: "soon")
      iex> error.message
      "timeout: expected milliseconds from 1 to 86400000, got \\"soon\\""
      iex> {:error, error} = DSPex.Options.call(time_out: 5)
      iex> error.message
      "time_out: expected one of adapter, config, credit, lane, lm, parent, priority, program, tenant, timeout, got an unknown option"
      iex> {:error, error} = DSPex.Options.instance([])
      iex> error.message
      "name: expected an atom, such as MyApp.DSPex, got nil"
  """

  alias DSPex.{Callback, Error}

  @max_timeout 86_400_000

  @derive {Inspect, except: [:secrets, :env]}
  @enforce_keys [:name]
  defstruct name: nil,
            command: ["dspex", "serve"],
            args: [],
            env: %{},
            cd: nil,
            lms: %{},
            functions: %{},
            secrets: nil,
            notes: [],
            require: [],
            client: nil,
            timeout: 120_000,
            max_frame_bytes: 16_777_216,
            handshake_timeout: 30_000,
            silence_timeout: 10_000,
            probe_after: 2_000,
            backoff: {100, 10_000},
            transport: DSPex.Transport.Port,
            transport_options: nil

  @typedoc "The checked options of an instance. `secrets` is a function, so that no report prints them."
  @type t :: %__MODULE__{}

  @doc "Checks the options of an instance; `DSPex` lists them."
  @spec instance(keyword()) :: {:ok, t()} | {:error, Error.t()}
  def instance(options) do
    with :ok <- keyword("options", options),
         :ok <- known(options, instance_keys()),
         :ok <- check(Keyword.put_new(options, :name, nil), &instance_rule/2),
         {:ok, lms} <- lms(options[:lms] || %{}) do
      checked = struct!(__MODULE__, options)
      secrets = options[:secrets] || %{}

      {:ok,
       %{
         checked
         | lms: lms,
           env: Map.new(checked.env, fn {name, value} -> {to_string(name), value} end),
           functions: Map.new(checked.functions, fn {name, function} -> {to_string(name), function} end),
           secrets: if(is_function(secrets), do: secrets, else: fn -> secrets end)
       }}
    end
  end

  defp instance_keys do
    %__MODULE__{name: nil} |> Map.from_struct() |> Map.keys() |> Enum.sort()
  end

  @doc "Checks the options of a call; returns them as a map."
  @spec call(keyword()) :: {:ok, map()} | {:error, Error.t()}
  def call(options) do
    with :ok <- keyword("options", options),
         :ok <-
           known(options, ~w(adapter config credit lane lm parent priority program tenant timeout)a),
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
        expected = "one of #{Enum.join(keys, ", ")}"
        details = %{"field" => to_string(key), "expected" => expected, "got" => "an unknown option"}
        message = "#{key}: expected #{expected}, got an unknown option"
        {:error, Error.new(:invalid_argument, message, details: details)}
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
  defp call_rule(:adapter, value), do: {to_text(value) in ~w(chat json xml), "one of :chat, :json, :xml"}

  defp call_rule(:lane, value),
    do: {to_text(value) in ~w(interactive batch control), "one of :interactive, :batch, :control"}

  defp call_rule(:priority, value), do: {is_integer(value) and value in 0..9, "an integer from 0 to 9"}
  defp call_rule(:tenant, value), do: {name?(value), "a string of 1 to 128 bytes"}
  defp call_rule(:parent, value), do: {is_struct(value, Callback), "a DSPex.Callback"}

  defp call_rule(:credit, value),
    do: {is_integer(value) and value in 2..1_000_000, "an integer from 2 to 1000000"}

  defp call_rule(:program, value), do: {name?(value), "the id of the program, 1 to 128 bytes"}

  defp instance_rule(:name, value),
    do: {is_atom(value) and value not in [nil, true, false], "an atom, such as MyApp.DSPex"}

  defp instance_rule(:command, value),
    do: {strings?(value) and value != [], "a list of program and arguments"}

  defp instance_rule(:args, value), do: {strings?(value), "a list of strings"}
  defp instance_rule(:env, value), do: {env?(value), "a map of name to string, or nil to unset"}
  defp instance_rule(:cd, value), do: {is_nil(value) or is_binary(value), "a directory"}
  defp instance_rule(:lms, value), do: {options?(value), "a map of name to language model"}

  defp instance_rule(:functions, value),
    do: {functions?(value), "a map of name to a function of 1 or 2 arguments or {module, name}"}

  defp instance_rule(:secrets, value),
    do: {secrets?(value), "a map of name to string, or a function that returns one"}

  defp instance_rule(:notes, value), do: {names?(value, ~w(log event)), "a list of :log and :event"}
  defp instance_rule(:require, value), do: {names?(value, nil), "a list of capabilities"}

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

  defp env?(value) do
    (is_map(value) or is_list(value)) and
      Enum.all?(
        value,
        &match?(
          {name, text} when (is_binary(name) or is_atom(name)) and (is_binary(text) or text in [nil, false]),
          &1
        )
      )
  end

  defp functions?(value),
    do: options?(value) and Enum.all?(value, fn {name, it} -> name?(name) and function?(it) end)

  defp function?({module, name}), do: is_atom(module) and is_atom(name)
  defp function?(value), do: is_function(value, 1) or is_function(value, 2)

  defp secrets?(value) when is_function(value, 0), do: true

  defp secrets?(value),
    do: options?(value) and Enum.all?(value, fn {name, it} -> name?(name) and is_binary(it) end)

  defp backoff?({first, longest}),
    do: is_integer(first) and is_integer(longest) and first > 0 and longest >= first

  defp backoff?(_other), do: false

  # A language model is a map, or just its name as in DSPy.
  defp lms(lms) do
    case Enum.find(lms, fn {_name, lm} -> not (is_binary(lm) or options?(lm)) end) do
      nil -> {:ok, Map.new(lms, fn {name, lm} -> {to_string(name), lm(lm)} end)}
      {name, lm} -> invalid("lms.#{name}", "a string such as \"openai/gpt-4o-mini\" or a map with model", lm)
    end
  end

  defp lm(model) when is_binary(model), do: %{"model" => model}
  defp lm(fields), do: Map.new(fields, fn {key, value} -> {to_string(key), plain(value)} end)

  @doc false
  # Keyword lists in configurations are maps on the wire, not lists of tuples.
  @spec plain(term()) :: term()
  def plain([{key, _} | _] = keyword) when is_atom(key),
    do: Map.new(keyword, fn {key, value} -> {key, plain(value)} end)

  def plain(value), do: value
end
