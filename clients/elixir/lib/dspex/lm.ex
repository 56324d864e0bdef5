defmodule DSPex.LM do
  @moduledoc """
  Language models without a program: prompts, conversations with tools, vectors, what is
  configured, whether it works, and what it has cost.

      {:ok, answer} = DSPex.LM.generate(MyApp.DSPex, "Name a river.", config: [max_tokens: 20])
      answer.text

      {:ok, embeddings} = DSPex.LM.embed(MyApp.DSPex, ["one", "two"], lm: "vectors")
      DSPex.LM.Embeddings.to_lists(embeddings)

      {:ok, %{ok?: false, error: error}} = DSPex.LM.test(MyApp.DSPex, lm: "spare")

  All take `lm:`, the name of a configured language model (`"default"` unless told
  otherwise), and the options of a call, such as `timeout:`. `generate/3`, `chat/3` and
  `embed/3` take `config:`, settings for this call such as `[temperature: 0.7, n: 2]`; what
  says on whose account requests go, or where, is refused as in predictions.

  A model is whatever the instance was given as `:lms`: one of a provider, a function of
  yours (`"host/NAME"`), or an offline one (`"sim/…"`).

  ## Functions as models

  A function is called with `model`, `messages` (each with `role` and `content`), `config`,
  and maybe `tools` and `must_call`. It answers with a string, or a map of `text`,
  `reasoning`, `tokens_in`, `tokens_out` and `tool_calls`. To write piece by piece it returns
  `{:stream, pieces}` with anything enumerable, whose elements are

  * a string: text that was added
  * `{:reasoning, text}`: what the model thinks before it answers
  * `{:reply, fields}`: the last one, with what only the end can tell, such as `tokens_out: 12`

        def write(%{"messages" => messages}) do
          {:stream, Stream.map(MyApp.Model.tokens(messages), & &1.text)}
        end

  The pieces are asked for one by one, in the function's own task, and no faster than they
  are read: `DSPex.stream/4` and `stream/3` have each as it comes.
  Where nobody wants a stream they are joined. When a stream is halted, the task is killed.
  Text must be whole characters: what comes in bytes must be cut between them.

  ## Conversations with tools

      tools = [%{name: "add", desc: "Adds two numbers.", args: %{a: %{type: "integer"}, b: %{type: "integer"}}}]
      messages = [%{role: :user, content: "How much is 17 and 4?"}]
      {:ok, answer} = DSPex.LM.chat(MyApp.DSPex, messages, tools: tools)

      results =
        for call <- answer.tool_calls,
            do: %{role: :tool, tool_call_id: call.id, content: to_string(call.args["a"] + call.args["b"])}

      {:ok, answer} = DSPex.LM.chat(MyApp.DSPex, messages ++ [answer.message | results], tools: tools)
      answer.text

  The model only says what it wants called; nothing is called for you. `content` is a
  string, or a list of strings and media: `DSPex.Image`, `DSPex.Audio`, `DSPex.File`.

  ## Prices

  A language model may be given prices of a million tokens, in US dollars:

      lms: %{"default" => %{model: "openai/own", api_base: "…", usd_per_million_in: 0.5, usd_per_million_out: 1.5}}

  Without them DSPy's list of prices is asked. What a call has cost is in its
  `meta["cost_usd"]`; `meta["unpriced"]` counts requests whose price nobody knows. Both are
  floats for budgets and reports, not for invoices. `usage/2` has the totals.
  """

  alias DSPex.{Call, Error, Options, Token}
  alias DSPex.LM.{Answer, Embeddings, Trial, ToolCall}

  @asking [:config, :lm]
  @credit 64

  @typedoc "A message: a map with `role` and `content`; an assistant's may have `tool_calls`, a tool's has `tool_call_id`."
  @type message :: map() | keyword()

  @typedoc "A tool: a map with `name`, and maybe `desc` and `args`, a JSON Schema by argument."
  @type tool :: map() | keyword()

  @doc """
  Completes a prompt. `system:` is what the model is told beforehand.

  With `n` above 1 in the config, `answer.others` has the further completions.
  """
  @spec generate(DSPex.t(), String.t(), keyword()) :: DSPex.result(Answer.t())
  def generate(dspex, prompt, options \\ []) do
    with {:ok, payload, options} <- prompt_request(prompt, options, @asking),
         {:ok, value, meta} <- DSPex.run(dspex, "lm.generate", payload, %{}, options),
         do: Answer.from_wire(value, meta)
  end

  @doc "The same, or raises `DSPex.Error`."
  @spec generate!(DSPex.t(), String.t(), keyword()) :: Answer.t()
  def generate!(dspex, prompt, options \\ []), do: Error.bang(generate(dspex, prompt, options))

  @doc """
  A lazy stream of a completion: `DSPex.Token` with the `field` `"text"` or `"reasoning"` as
  they come, and the whole `DSPex.LM.Answer` as last element.

  Takes a prompt, or the messages of a conversation; then also `tools:`, of which calls come one
  by one as `DSPex.LM.ToolCall`. Halting it cancels the request; a failure raises `DSPex.Error`.
  """
  @spec stream(DSPex.t(), String.t() | [message()], keyword()) :: Enumerable.t()
  def stream(dspex, prompt_or_messages, options \\ []) do
    Stream.resource(fn -> start(dspex, prompt_or_messages, options) end, &next/1, &close/1)
  end

  @doc """
  Answers a conversation. `tools:` are what the model may want called.

  `answer.message` is a message: put it behind the others to go on.
  """
  @spec chat(DSPex.t(), [message()], keyword()) :: DSPex.result(Answer.t())
  def chat(dspex, messages, options \\ []) do
    with {:ok, payload, options} <- chat_request(messages, options, @asking),
         {:ok, value, meta} <- DSPex.run(dspex, "lm.chat", payload, %{}, options),
         do: Answer.from_wire(value, meta)
  end

  @doc "The same, or raises `DSPex.Error`."
  @spec chat!(DSPex.t(), [message()], keyword()) :: Answer.t()
  def chat!(dspex, messages, options \\ []), do: Error.bang(chat(dspex, messages, options))

  @doc """
  Makes vectors of texts, a row for each, in their order.

  The model is one that makes vectors, such as `"openai/text-embedding-3-small"`; one that
  does nothing else is configured with `model_type: "embedding"`.
  """
  @spec embed(DSPex.t(), [String.t()], keyword()) :: DSPex.result(Embeddings.t())
  def embed(dspex, texts, options \\ []) do
    with {:ok, options} <- Options.call(options, @asking),
         payload = Map.put(asked(options), "texts", texts),
         {:ok, value, meta} <- DSPex.run(dspex, "lm.embed", payload, %{}, options),
         do: Embeddings.from_wire(value, meta)
  end

  @doc "The same, or raises `DSPex.Error`."
  @spec embed!(DSPex.t(), [String.t()], keyword()) :: Embeddings.t()
  def embed!(dspex, texts, options \\ []), do: Error.bang(embed(dspex, texts, options))

  @doc """
  What is configured, as maps with string keys; no model is asked anything.

  * `"name"`, `"model"`, `"kind"`: `"sim"`, `"host"` or `"provider"`, `"model_type"`
  * `"usable"`, and where it is not `"problem"`, with `"code"` and `"message"`
  * `"by"`: who makes its requests; `"address"`: scheme, host and port; `"key"`: where from, by name
  * `"parameters"` that are set; of the provider's options only harmless values are shown
  * `"prices"` of a million tokens, `"limits"` of tokens and `"capabilities"`, where they are known
  * `"clients"`: numbers of the clients that offer it, as in `DSPex.info/2`; `"settings"`:
    whether the server's own do. Every client may use all of them
  """
  @spec list(DSPex.t(), keyword()) :: DSPex.result([map()])
  def list(dspex, options \\ []), do: DSPex.lms(dspex, options)

  @doc "The same, or raises `DSPex.Error`."
  @spec list!(DSPex.t(), keyword()) :: [map()]
  def list!(dspex, options \\ []), do: Error.bang(list(dspex, options))

  @doc """
  Tries a language model with a request that is as small as can be.

  That it does not work is a result: `{:ok, %DSPex.LM.Trial{ok?: false}}`. Option
  `within:`, milliseconds after which it counts as failed with `:lm_timeout`, 10,000 unless
  told otherwise.
  """
  @spec test(DSPex.t(), keyword()) :: DSPex.result(Trial.t())
  def test(dspex, options \\ []) do
    {within, options} = if Keyword.keyword?(options), do: Keyword.pop(options, :within), else: {nil, options}

    with :ok <- within(within),
         {:ok, options} <- Options.call(options, [:lm]),
         payload = if(within, do: Map.put(asked(options), "timeout_s", within / 1000), else: asked(options)),
         {:ok, value, meta} <- DSPex.run(dspex, "lm.test", payload, %{}, options),
         do: Trial.from_wire(value, meta)
  end

  @doc "The same, or raises `DSPex.Error`; it does not raise for a model that does not work."
  @spec test!(DSPex.t(), keyword()) :: Trial.t()
  def test!(dspex, options \\ []), do: Error.bang(test(dspex, options))

  @doc """
  What language models have cost since the server started, of all its clients.

  Maps with string keys: `"total"`, and `"lms"`, `"programs"` and `"tenants"`, lists of rows
  with `"lm"`, `"program"` or `"tenant"`, and each with `"lm_calls"`, `"lm_ms"`,
  `"tokens_in"`, `"tokens_out"`, `"cost_usd"` and `"unpriced"`. Those that cost most come first,
  100 of each unless `limit:` says otherwise.
  """
  @spec usage(DSPex.t(), keyword()) :: DSPex.result(map())
  def usage(dspex, options \\ []) do
    with {:ok, options} <- Options.call(options, [:limit]),
         payload = for({:limit, limit} <- options, into: %{}, do: {"limit", limit}),
         {:ok, value, _meta} <- DSPex.run(dspex, "lm.usage", payload, %{}, options),
         do: {:ok, value}
  end

  @doc "The same, or raises `DSPex.Error`."
  @spec usage!(DSPex.t(), keyword()) :: map()
  def usage!(dspex, options \\ []), do: Error.bang(usage(dspex, options))

  # -- requests --------------------------------------------------------------------------

  defp prompt_request(prompt, options, keys) do
    {system, options} = pop(options, :system)

    with {:ok, prompt} <- text("prompt", prompt),
         {:ok, options} <- Options.call(options, keys) do
      payload = options |> asked() |> Map.put("prompt", prompt)
      {:ok, if(system, do: Map.put(payload, "system", system), else: payload), options}
    end
  end

  defp chat_request(messages, options, keys) do
    {tools, options} = pop(options, :tools)

    with {:ok, messages} <- maps("messages", messages),
         {:ok, tools} <- maps("tools", tools || []),
         {:ok, options} <- Options.call(options, keys) do
      payload = options |> asked() |> Map.put("messages", messages)
      {:ok, if(tools == [], do: payload, else: Map.put(payload, "tools", tools)), options}
    end
  end

  defp asked(options) do
    lm = if options[:lm], do: %{"lm" => to_string(options.lm)}, else: %{}
    if options[:config], do: Map.put(lm, "config", Map.new(options.config)), else: lm
  end

  defp pop(options, key) do
    if Keyword.keyword?(options), do: Keyword.pop(options, key), else: {nil, options}
  end

  defp text(_field, value) when is_binary(value), do: {:ok, value}
  defp text(field, value), do: {:error, Error.invalid_argument(field, "a string", value)}

  defp maps(field, values) when is_list(values) do
    case Enum.find_index(values, &(not map?(&1))) do
      nil -> {:ok, Enum.map(values, &plain/1)}
      at -> {:error, Error.invalid_argument("#{field}[#{at}]", "a map or keyword list", Enum.at(values, at))}
    end
  end

  defp maps(field, other), do: {:error, Error.invalid_argument(field, "a list of maps", other)}

  defp map?(value), do: (is_map(value) and not is_struct(value)) or (Keyword.keyword?(value) and value != [])

  # Roles are atoms in Elixir's hands, and texts on the wire.
  defp plain(value) when is_struct(value), do: value

  defp plain(value) when is_map(value),
    do: Map.new(value, fn {key, part} -> {to_string(key), plain(part)} end)

  defp plain(value) when is_list(value) do
    if Keyword.keyword?(value) and value != [], do: plain(Map.new(value)), else: Enum.map(value, &plain/1)
  end

  defp plain(value) when is_atom(value) and value not in [nil, true, false], do: Atom.to_string(value)
  defp plain(value), do: value

  defp within(nil), do: :ok
  defp within(value) when is_integer(value) and value in 1..600_000, do: :ok

  defp within(value),
    do: {:error, Error.invalid_argument("within", "milliseconds from 1 to 600000", value)}

  # -- streams ---------------------------------------------------------------------------

  defp start(dspex, prompt, options) do
    {method, request} =
      if is_binary(prompt),
        do: {"lm.generate", prompt_request(prompt, options, [:credit | @asking])},
        else: {"lm.chat", chat_request(prompt, options, [:credit | @asking])}

    with {:ok, payload, options} <- request,
         meta = %{"credit" => Map.get(options, :credit, @credit)},
         {:ok, call} <- DSPex.open(dspex, method, payload, meta, options) do
      call
    else
      {:error, error} -> raise error
    end
  end

  defp next(:done), do: {:halt, :done}

  defp next(call) do
    case Call.next(call) do
      {:item, item, call} -> {[element(item)], Call.renew(call)}
      {:ok, value, meta} -> {[Error.bang(Answer.from_wire(value, meta))], :done}
      {:error, error} -> raise error
    end
  end

  # Also after a raise above: the call is settled then, and abandoning it does nothing.
  defp close(:done), do: :ok
  defp close(call), do: Call.abandon(call)

  defp element(%{"type" => "token", "text" => text} = item) when is_binary(text),
    do: %Token{
      text: text,
      field: item["field"],
      completion: item["completion"] || 0,
      last?: item["last"] == true
    }

  defp element(%{"type" => "tool_call", "name" => name} = item) do
    completion = item["completion"] || 0
    %ToolCall{id: item["id"], name: name, args: item["args"] || %{}, completion: completion}
  end

  # A type of a later server: as it is.
  defp element(item), do: item
end
