defmodule DSPex.ConformanceTest do
  @moduledoc "The golden vectors of the protocol, read by this client's codec."
  use ExUnit.Case, async: true

  alias DSPex.{Envelope, Frame, MessagePack, Vectors}

  # A calendar, a map's order or a float's width of ours may differ in bytes: compared after decoding.
  defp same?(ours, theirs), do: ours == theirs or MessagePack.decode(ours) == MessagePack.decode(theirs)

  test "the vectors are there" do
    assert length(Vectors.of_shape("value")) >= 50
  end

  for {vector, number} <- Enum.with_index(Vectors.of_shape("value")) do
    @vector vector
    @tag timeout: 20_000
    test "value #{number}: #{vector["id"]}" do
      bytes = Vectors.bytes(@vector)

      case @vector do
        %{"error" => code} ->
          assert {:error, error} = MessagePack.decode(bytes)
          assert Atom.to_string(error.type) in [code | Map.get(@vector, "or", [])]

        %{"direction" => direction} ->
          value = Vectors.value(@vector["value"])
          assert {:ok, decoded} = MessagePack.decode(bytes)
          assert number(decoded) == number(value)
          if direction == "both", do: assert(same?(MessagePack.encode!(value), bytes))
      end
    end
  end

  for {vector, number} <- Enum.with_index(Vectors.of_shape("body")) do
    @vector vector
    test "body #{number}: #{vector["id"]}" do
      check_body(@vector)
    end
  end

  for {vector, number} <- Enum.with_index(Vectors.of_shape("conversation")) do
    @vector vector
    test "conversation #{number}: #{vector["id"]}" do
      for {:object, step} <- @vector["steps"], do: check_body(Map.new(step))
    end
  end

  for {vector, number} <- Enum.with_index(Vectors.of_shape("stream")) do
    @vector vector
    test "stream #{number}: #{vector["id"]}" do
      bytes = Vectors.bytes(@vector)
      limit = Map.get(@vector, "max_frame_bytes", 16_777_216)
      expected = {Enum.map(@vector["bodies"], &expected_body/1), @vector["end"]}

      for size <- sizes(bytes) do
        assert {size, cut(Frame.new(limit), pieces(bytes, size), [])} == {size, expected}
      end
    end
  end

  # Our decimals keep their text: `0042` and `1E3` are compared as the numbers they are.
  defp number(%DSPex.Decimal{text: text}) do
    text |> String.replace(~r/\A(-?)0+(?=\d)/, "\\1") |> String.replace(~r/E(?=\d)/, "E+")
  end

  defp number(value), do: value

  defp check_body(%{"error" => code} = vector) do
    assert {:error, error} = Envelope.decode(Vectors.bytes(vector))
    assert Atom.to_string(error.type) in [code | Map.get(vector, "or", [])]
  end

  defp check_body(%{"frame" => {:object, frame}} = vector) do
    frame = Map.new(frame)
    body = Vectors.bytes(vector)
    assert {:ok, envelope, payload} = Envelope.decode(body)
    kind = Enum.at([:call, :reply, :fail, :item, :cancel, :credit, :note], frame["kind"])

    assert {envelope.kind, envelope.id, envelope.method, envelope.meta} ==
             {kind, Vectors.value(frame["id"]), frame["method"], Vectors.value(frame["meta"])}

    assert MessagePack.decode(payload) == {:ok, Vectors.value(frame["payload"])}
    if at = vector["payload_at"], do: assert(byte_size(body) - byte_size(payload) == at)

    if vector["direction"] == "both" do
      again = Envelope.encode(kind, envelope.id, envelope.method, envelope.meta, payload)
      assert same?(IO.iodata_to_binary(again), body)
    end
  end

  # All at once, byte by byte where that is affordable, and two odd sizes between.
  defp sizes(bytes) when byte_size(bytes) <= 20_000, do: [1, 3, 7, max(byte_size(bytes), 1)]
  defp sizes(bytes), do: [65_536, byte_size(bytes)]

  defp pieces(<<>>, _size), do: []
  defp pieces(bytes, size) when byte_size(bytes) <= size, do: [bytes]

  defp pieces(<<piece::binary>>, size),
    do: [binary_part(piece, 0, size) | pieces(binary_part(piece, size, byte_size(piece) - size), size)]

  defp cut(frame, [], bodies) do
    case Frame.finish(frame) do
      :ok -> {Enum.reverse(bodies), "clean"}
      {:error, error} -> {Enum.reverse(bodies), Atom.to_string(error.type)}
    end
  end

  defp cut(frame, [piece | pieces], bodies) do
    case Frame.feed(frame, piece) do
      {:ok, more, frame} -> cut(frame, pieces, Enum.reverse(Enum.map(more, &seen/1)) ++ bodies)
      {:error, error, more} -> {Enum.reverse(bodies) ++ Enum.map(more, &seen/1), Atom.to_string(error.type)}
    end
  end

  defp seen(<<>>), do: {:error, "frame_empty"}
  defp seen({:too_large, length, _head}), do: {:error, "frame_too_large", length}
  defp seen(body), do: body

  defp expected_body({:object, [{"error", code}]}), do: {:error, code}
  defp expected_body({:object, [{"error", code}, {"length", length} | _]}), do: {:error, code, length}
  defp expected_body(piece), do: Vectors.piece(piece)
end
