defmodule DSPex.MediaTest do
  @moduledoc "Pictures, sound, files, documents, histories and examples, as they go out and as they come in."
  use ExUnit.Case, async: true

  alias DSPex.{Audio, Binary, Document, Error, Example, History, Image, MessagePack, Prediction, Tagged}

  @moduletag :tmp_dir
  @png <<0x89, "PNG\r\n", 0x1A, "\n">>

  defp written(folder, name, content) do
    path = Path.join(folder, name)
    File.write!(path, content)
    path
  end

  test "what is made here is a value of the wire", %{tmp_dir: folder} do
    values = [
      Image.from_binary!(@png, media_type: "image/png"),
      Image.from_path!(written(folder, "a.png", @png)),
      Image.from_url!("https://example.test/a.png"),
      Audio.from_path!(written(folder, "a.wav", "RIFF....WAVE")),
      DSPex.File.from_path!(written(folder, "a.docx", "PK")),
      DSPex.File.from_id("file-1", "a.pdf"),
      Document.new("text", title: "A", context: "from a test"),
      Document.from_path!(written(folder, "a.pdf", "%PDF-"), title: "A"),
      History.new([[question: "Why?", photo: Image.from_binary!(@png)]]),
      Example.new([question: "Why?", answer: "So."], inputs: [:question])
    ]

    for value <- values, do: assert(MessagePack.decode(MessagePack.encode!(value)) == {:ok, value})
  end

  test "of a path the server sees the bytes, and a media type where the ending tells more", %{tmp_dir: folder} do
    path = written(folder, "a.png", @png)
    assert Image.from_path(path) == {:ok, %Tagged{tag: "image", value: %{"bytes" => Binary.new(@png)}}}

    assert {:ok, %Tagged{value: value}} = DSPex.File.from_path(written(folder, "B.CSV", "a,b"))
    assert value == %{"bytes" => Binary.new("a,b"), "media_type" => "text/csv"}

    assert {:ok, %Tagged{value: %{"filename" => "other"}}} = DSPex.File.from_path(path, filename: "other")
  end

  test "what cannot be read is told without a call", %{tmp_dir: folder} do
    for {path, message} <- [
          {Path.join(folder, "none.png"),
           "path: expected a file that can be read, got no such file or directory"},
          {folder, "path: expected a file, got a directory"},
          {"/dev/zero", "path: expected a file, got a device"},
          {written(folder, "empty.png", ""), "image: expected 1 byte to 20 MiB of image, got nothing"}
        ] do
      assert {:error, %Error{type: :invalid_argument, message: ^message}} = Image.from_path(path)
    end

    assert {:error, %Error{message: "path: expected a path, got 3"}} = Image.from_path(3)
    assert_raise Error, fn -> Image.from_path!(Path.join(folder, "none.png")) end
  end

  test "what is too large is not sent" do
    limit = 20 * 1_048_576
    assert {:ok, _image} = Image.from_binary(:binary.copy("x", limit))
    assert {:error, %Error{message: message}} = Image.from_binary(:binary.copy("x", limit + 1))
    assert message == "image: expected 1 byte to 20 MiB of image, got #{limit + 1} bytes"
  end

  test "options are checked by name" do
    assert {:error, %Error{message: message}} = Image.from_binary(@png, type: "image/png")
    assert message == "type: expected one of media_type, got an unknown option"
    assert {:error, %Error{details: %{"field" => "media_type"}}} = Image.from_binary(@png, media_type: :png)
    assert {:error, %Error{details: %{"field" => "image"}}} = Image.from_binary(:png)
    assert {:error, %Error{details: %{"field" => "url"}}} = Image.from_url("file:///etc/passwd")
    assert_raise Error, fn -> Document.new("text", media_type: "text/plain") end
    assert_raise Error, fn -> Example.new(%{a: 1}, inputs: [:b]) end
  end

  test "the bytes of what the server holds come out again" do
    base64 = Base.encode64("bytes")

    for {value, expected} <- [
          {{Image, "image", %{"url" => "data:image/png;base64," <> base64}}, {"bytes", "image/png"}},
          {{Image, "image", %{"bytes" => Binary.new("bytes")}}, {"bytes", nil}},
          {{Audio, "audio", %{"data" => base64, "audio_format" => "mp3"}}, {"bytes", "audio/mpeg"}},
          {{Audio, "audio", %{"data" => base64, "audio_format" => "wav"}}, {"bytes", "audio/wav"}},
          {{DSPex.File, "file", %{"file_data" => "data:text/csv;base64," <> base64}}, {"bytes", "text/csv"}},
          {{Document, "document", %{"data" => "text"}}, {"text", "text/plain"}},
          {{Document, "document", %{"data" => base64, "media_type" => "application/pdf"}},
           {"bytes", "application/pdf"}}
        ] do
      {module, tag, parts} = value
      assert module.to_binary(%Tagged{tag: tag, value: parts}) == {:ok, expected}
    end
  end

  test "what holds no bytes says so" do
    for value <- [
          Image.from_url!("https://example.test/a"),
          %Tagged{tag: "image", value: %{"url" => "data:image/png;base64,?"}},
          %Tagged{tag: "audio", value: %{}},
          nil
        ] do
      assert {:error, %Error{type: :invalid_argument}} = Image.to_binary(value)
    end
  end

  test "a history grows by turns" do
    history = History.append(History.new(), [question: "Why?"], Prediction.new(%{"answer" => "So."}))
    assert History.messages(history) == [%{"question" => "Why?", "answer" => "So."}]
  end

  test "a prediction can be sent, as a host function does that gives one back" do
    parts = %{
      "fields" => %{"answer" => "So.", "score" => 0.5},
      "completions" => [%{"answer" => "So."}, %{"answer" => "No."}],
      "usage" => %{"sim" => 1},
      "trace" => [%{"predictor" => "self", "inputs" => %{}, "outputs" => %{}}]
    }

    tagged = %Tagged{tag: "prediction", value: parts}
    assert {:ok, prediction} = Prediction.from_wire(tagged, %{})
    assert {prediction.score, length(prediction.completions), length(prediction.trace)} == {0.5, 2, 1}
    assert MessagePack.decode(MessagePack.encode!(prediction)) == {:ok, tagged}

    assert MessagePack.decode(MessagePack.encode!(Prediction.new(%{"a" => 1}))) ==
             {:ok, %Tagged{tag: "prediction", value: %{"fields" => %{"a" => 1}}}}
  end

  test "a trace is asked for by the call and no other", %{test: name} do
    me = self()

    handler = fn "program.predict", payload, _meta ->
      send(me, {:payload, payload})
      {:prediction, %{"answer" => "So."}}
    end

    start_supervised!({DSPex, name: name, transport: DSPex.Test, transport_options: [handler: handler]})
    assert DSPex.predict!(name, "qa", %{question: "?"}, trace: true).trace == []
    assert_receive {:payload, %{"trace" => true}}
    DSPex.predict!(name, "qa", %{question: "?"}, trace: false)
    assert_receive {:payload, payload}
    refute is_map_key(payload, "trace")

    assert {:error, %Error{details: %{"field" => "trace"}}} = DSPex.predict(name, "qa", %{}, trace: "yes")
  end
end
