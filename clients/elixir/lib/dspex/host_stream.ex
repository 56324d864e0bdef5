defmodule DSPex.HostStream do
  @moduledoc false
  # The answer of a host function that comes in pieces: sent as far as there is credit, or
  # joined where the server gave none. It runs in the function's own task.
  #
  # Credit is a counter that the connection adds to and the task takes from. The message
  # that it came only wakes the task: what the pieces are made of may read the mailbox of
  # the process as well, and take it away.

  alias DSPex.{Clock, Envelope, Error, MessagePack, Wire}

  @enforce_keys [:wire, :id, :credit, :deadline]
  defstruct @enforce_keys ++ [:streamed?]

  @typedoc "`credit` is the second of these counters; the first belongs to `DSPex.HostFunction`."
  @type t :: %__MODULE__{
          wire: Wire.t(),
          id: non_neg_integer(),
          credit: :atomics.atomics_ref(),
          deadline: integer(),
          streamed?: boolean() | nil
        }

  @credit 2
  # Of text in one item; what the server takes is 65,536 with all that is around it.
  @piece_bytes 60_000
  @empty %{seq: 0, text: [], reasoning: [], reply: %{}}

  @doc "What the server takes at first; nothing where it says nothing."
  @spec put_credit(:atomics.atomics_ref(), term()) :: :ok
  def put_credit(counters, count), do: :atomics.put(counters, @credit, count(count))

  @doc "Lets the stream in that task go on. A malformed credit is no credit."
  @spec add_credit(:atomics.atomics_ref(), pid(), term()) :: :ok
  def add_credit(counters, pid, count) do
    :atomics.add(counters, @credit, count(count))
    send(pid, {__MODULE__, :credit})
    :ok
  end

  defp count(count) when is_integer(count) and count in 1..1_000_000, do: count
  defp count(_malformed), do: 0

  @doc "Sends the pieces; returns what the REPLY is to say."
  @spec answer(t(), Enumerable.t()) :: {:ok, term()} | {:error, Error.t()}
  def answer(stream, pieces) do
    stream = %{stream | streamed?: :atomics.get(stream.credit, @credit) > 0}

    with {:ok, answer} <- Enum.reduce_while(pieces, {:ok, @empty}, &take(&1, &2, stream)),
         do: {:ok, whole(answer)}
  end

  defp take({:reply, fields}, {:ok, answer}, _stream) when is_map(fields) or is_list(fields),
    do: {:halt, {:ok, %{answer | reply: Map.new(fields, fn {name, value} -> {to_string(name), value} end)}}}

  defp take({:reasoning, text}, {:ok, answer}, stream), do: take_text(:reasoning, text, answer, stream)
  defp take(piece, {:ok, answer}, stream), do: take_text(:text, piece, answer, stream)

  defp take_text(field, text, answer, stream) do
    cond do
      not (is_binary(text) and String.valid?(text)) -> {:halt, {:error, misfit(text)}}
      stream.streamed? -> send_text(field, text, answer, stream)
      true -> {:cont, {:ok, Map.update!(answer, field, &[&1 | text])}}
    end
  end

  defp send_text(_field, "", answer, _stream), do: {:cont, {:ok, answer}}

  defp send_text(field, text, answer, stream) do
    {part, rest} = split(text)

    case send_item(stream, answer.seq, item(field, part)) do
      :ok -> send_text(field, rest, %{answer | seq: answer.seq + 1}, stream)
      {:error, error} -> {:halt, {:error, error}}
    end
  end

  defp item(:text, text), do: text
  defp item(:reasoning, text), do: %{"reasoning" => text}

  defp split(text) when byte_size(text) <= @piece_bytes, do: {text, ""}
  defp split(text), do: split(text, @piece_bytes)

  # Never inside of a character.
  defp split(text, at) do
    case text do
      <<_::binary-size(at), 0b10::2, _::6, _::binary>> -> split(text, at - 1)
      <<part::binary-size(at), rest::binary>> -> {part, rest}
    end
  end

  defp send_item(stream, seq, item) do
    body = Envelope.encode(:item, stream.id, nil, %{"seq" => seq}, MessagePack.encode!(item))

    with :ok <- await_credit(stream),
         :ok <- Wire.send(stream.wire, body, stream.deadline) do
      :atomics.sub(stream.credit, @credit, 1)
      :ok
    else
      # The call is over or nobody is there any more: the answer goes nowhere either.
      _ -> {:error, Error.new(:deadline, "the answer was not taken in time")}
    end
  end

  defp await_credit(stream) do
    forget_wake_ups()
    if :atomics.get(stream.credit, @credit) > 0, do: :ok, else: sleep(stream)
  end

  # Before the counter is looked at: what comes after that wakes the task.
  defp forget_wake_ups do
    receive do
      {__MODULE__, :credit} -> forget_wake_ups()
    after
      0 -> :ok
    end
  end

  defp sleep(stream) do
    receive do
      {__MODULE__, :credit} -> await_credit(stream)
    after
      Clock.remaining_ms(stream.deadline) -> :timeout
    end
  end

  # The pieces that were sent are the answer, but for what only its end can tell.
  defp whole(%{seq: seq, reply: reply}) when seq > 0, do: if(reply == %{}, do: nil, else: reply)
  defp whole(%{text: text, reasoning: [], reply: reply}) when reply == %{}, do: IO.iodata_to_binary(text)

  defp whole(%{text: text, reasoning: reasoning, reply: reply}) do
    fields = %{"text" => IO.iodata_to_binary(text), "reasoning" => IO.iodata_to_binary(reasoning)}
    Map.merge(fields, reply)
  end

  defp misfit(piece) do
    got =
      if is_binary(piece), do: "bytes that are no UTF-8", else: inspect(piece, limit: 5, printable_limit: 80)

    Error.new(
      :function_failed,
      "a piece of an answer is text, {:reasoning, text}, or at the end {:reply, fields}; got #{got}"
    )
  end
end
