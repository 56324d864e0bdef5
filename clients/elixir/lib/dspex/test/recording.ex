defmodule DSPex.Test.Recording do
  @moduledoc false
  # A conversation in a file, made to be kept with the tests: a line for each frame, with
  # its direction (`>` to the server, `<` from it) and its bytes in base 64, and before each
  # call a line that says for people what it is. The handshake is left out: it has secrets.

  alias DSPex.{Envelope, Error, MessagePack}

  @unrecorded ~w(system.hello system.ping system.goodbye)
  # Not what differs from run to run, such as times and write_id.
  @asked ~w(program version tag session)

  @typedoc "A call and how it was answered."
  @type exchange :: {key :: term(), [{Envelope.kind(), Envelope.meta(), term()}]}

  @doc "The line or lines of a frame; nothing for one that is not recorded."
  @spec line(:to | :from, binary()) :: iodata()
  def line(direction, body) do
    case {direction, Envelope.decode(body)} do
      {:to, {:ok, %{kind: :call, method: method}, _}} when method in @unrecorded ->
        []

      {:to, {:ok, %{kind: :call} = it, payload}} ->
        [about(it, payload), "> ", Base.encode64(body), "\n"]

      {:from, {:ok, %{kind: kind}, _}} when kind in [:reply, :fail, :item] ->
        ["< ", Base.encode64(body), "\n"]

      _ ->
        []
    end
  end

  defp about(%{id: id, method: method}, payload) do
    value = inspect(MessagePack.decode!(payload), limit: 20, printable_limit: 200)
    ["# call #{id}: #{method} ", String.replace(value, "\n", " "), "\n"]
  end

  @doc "The exchanges of a file, in order; calls that had no outcome are left out."
  @spec read!(Path.t()) :: [exchange()]
  def read!(path) do
    frames =
      for <<direction, " ", text::binary>> <- File.stream!(path), direction in [?<, ?>] do
        {:ok, envelope, payload} = text |> String.trim() |> Base.decode64!() |> Envelope.decode()
        {envelope, MessagePack.decode!(payload)}
      end

    {_open, exchanges} = Enum.reduce(frames, {%{}, []}, &frame/2)
    Enum.reverse(exchanges)
  end

  defp frame({%{kind: :call, id: id} = it, payload}, {open, done}),
    do: {Map.put(open, id, {key(it.method, payload, it.meta), []}), done}

  defp frame({%{kind: kind, id: id, meta: meta}, value}, {open, done}) do
    case {kind, Map.pop(open, id)} do
      # Of the handshake.
      {_kind, {nil, _}} -> {open, done}
      {:item, {{key, frames}, _}} -> {%{open | id => {key, [{kind, meta, value} | frames]}}, done}
      {_end, {{key, frames}, open}} -> {open, [{key, Enum.reverse(frames, [{kind, meta, value}])} | done]}
    end
  end

  defp key(method, payload, meta), do: {method, payload, Map.take(meta, @asked)}

  @doc "A handler for `DSPex.Test.stub/2`; where it has got to is kept by a process linked to the caller."
  @spec handler(Path.t()) :: DSPex.Test.handler()
  def handler(path) do
    {:ok, left} = path |> read!() |> then(&Agent.start_link(fn -> &1 end))
    fn method, payload, meta -> answer(left, path, key(method, payload, meta)) end
  end

  defp answer(left, path, {method, _payload, _meta} = key) do
    case Agent.get_and_update(left, &take(&1, key)) do
      {:ok, frames} ->
        {:frames, frames}

      :none ->
        {:fail,
         Error.new(:internal, "#{path} has no (further) recorded answer to this #{method}; record it again")}
    end
  end

  defp take(exchanges, key) do
    case List.keytake(exchanges, key, 0) do
      {{_key, frames}, rest} -> {{:ok, frames}, rest}
      nil -> {:none, exchanges}
    end
  end
end
