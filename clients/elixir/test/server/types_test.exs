defmodule DSPex.TypesTest do
  @moduledoc "Values of every type through the real server: by echo, into programs and models, and out again."
  use ExUnit.Case, async: false

  alias DSPex.{Audio, Binary, Document, Error, Example, History, Image, Tagged, Tensor}

  @moduletag :server
  @moduletag :capture_log
  @moduletag timeout: 120_000

  @png <<0x89, "PNG\r\n", 0x1A, "\n">>

  setup_all do
    me = self()
    name = __MODULE__.DSPex

    start_supervised!(
      {DSPex,
       name: name,
       command: OptionParser.split(System.fetch_env!("DSPEX_COMMAND")),
       args: ["--workers", "1", "--log-level", "error"],
       lms: %{default: "sim/types", host: "host/seeing"},
       functions: %{"seeing" => &seeing(me, &1)},
       timeout: 60_000}
    )

    DSPex.echo!(name, nil, timeout: 60_000)
    %{dspex: name}
  end

  # Says which media it was shown.
  defp seeing(_me, %{"messages" => messages}) do
    shown = for %{"content" => [_ | _] = parts} <- messages, %Tagged{} = part <- parts, do: told(part)
    "[[ ## answer ## ]]\n#{Enum.join(shown, ", ")}\n\n[[ ## completed ## ]]"
  end

  defp told(%Tagged{tag: tag, value: %{"bytes" => %Binary{data: data}, "media_type" => type}}),
    do: "#{tag} #{type} #{byte_size(data)}"

  defp told(%Tagged{tag: tag, value: %{"url" => url}}), do: "#{tag} #{url}"

  defp golden do
    %{
      "nested" => %{"list" => [1, [2.5, nil, true]], "ü☃" => %{}},
      "big" => Integer.pow(-3, 99),
      "decimal" => %DSPex.Decimal{text: "19.90"},
      "times" => [~D[2024-02-29], ~T[12:00:00.000001], ~N[2024-02-29 12:00:00], ~U[2024-02-29 12:00:00Z]],
      "duration" => Tagged.duration(-1_500_000),
      "uuid" => elem(Tagged.uuid("00112233-4455-6677-8899-aabbccddeeff"), 1),
      "bytes" => Binary.new(<<0, 255>>),
      "tuple" => {1, {"a", Binary.new("b")}},
      "set" => MapSet.new([1, "a", {2, 3}, MapSet.new([4])]),
      "pairs" => %{1 => "a", {2, 3} => "b"},
      "tensor" => Tensor.from_floats([1.0, 2.5]),
      "history" => History.new([%{question: "Why?", photo: Image.from_url!("https://example.test/a.png")}]),
      "example" => Example.new(%{a: 1, b: 2}, inputs: [:a]),
      "tool_calls" => %Tagged{
        tag: "tool_calls",
        value: %{"tool_calls" => [%{"id" => nil, "name" => "search", "args" => %{"k" => 3}}]}
      },
      "prediction" => %Tagged{tag: "prediction", value: %{"fields" => %{"score" => 0.5}}}
    }
  end

  test "every value passes a worker, and a program with a field of any type", %{dspex: dspex} do
    assert DSPex.echo(dspex, golden()) == {:ok, golden()}

    prediction = DSPex.predict!(dspex, {"Predict", "value: any -> answer"}, %{value: golden()}, trace: true)
    assert [%{"predictor" => "self", "inputs" => inputs, "outputs" => outputs}] = prediction.trace
    assert inputs == %{"value" => golden()}
    assert outputs == prediction.fields
  end

  test "without asking there is no trace, and each completion comes where there are several", %{dspex: dspex} do
    options = [config: [n: 3, temperature: 1.0]]
    prediction = DSPex.predict!(dspex, {"Predict", "question -> answer"}, %{question: "?"}, options)
    assert prediction.trace == []
    assert length(prediction.completions) == 3
    assert hd(prediction.completions) == prediction.fields
  end

  test "a model is shown pictures, sound and files as they are", %{dspex: dspex} do
    inputs = %{
      photo: Image.from_binary!(@png),
      link: Image.from_url!("https://example.test/a.png"),
      sound: Audio.from_binary!("ID3"),
      paper: DSPex.File.from_binary!("%PDF-1.7"),
      bare: Binary.new(@png)
    }

    signature = "photo: image, link: image, sound: audio, paper: file, bare: image -> answer"
    assert {:ok, prediction} = DSPex.predict(dspex, {"Predict", signature}, inputs, lm: "host")

    assert prediction.answer ==
             "image image/png 8, image https://example.test/a.png, audio audio/mpeg 3, " <>
               "file application/pdf 8, image image/png 8"
  end

  test "what comes back as a picture can be read and sent again", %{dspex: dspex} do
    inputs = %{photo: Image.from_binary!(@png)}
    spec = {"Predict", "photo: image -> answer"}
    prediction = DSPex.predict!(dspex, spec, inputs, trace: true)
    assert [%{"inputs" => %{"photo" => photo} = again}] = prediction.trace
    assert Image.to_binary(photo) == {:ok, {@png, "image/png"}}
    assert DSPex.predict!(dspex, spec, again).answer == prediction.answer
  end

  test "types of a signature written in Elixir are those of the server", %{dspex: dspex} do
    {:ok, signature} =
      DSPex.Signature.new(
        inputs: [question: :string, wait: :duration, id: :uuid],
        outputs: [answer: :string, took: :duration, key: :uuid, source: :document, calls: :tool_calls]
      )

    inputs = %{
      question: "?",
      wait: Tagged.duration(5),
      id: elem(Tagged.uuid(String.duplicate("0", 8) <> "-0000-0000-0000-000000000000"), 1)
    }

    assert {:ok, prediction} = DSPex.predict(dspex, {"Predict", signature}, inputs)
    assert %Tagged{tag: "duration"} = prediction.took
    assert %Tagged{tag: "uuid"} = prediction.key

    assert {:ok, {text, _media_type}} =
             Document.to_binary(%{prediction.source | value: %{"data" => prediction.source.value["data"]}})

    assert is_binary(text)
    assert %Tagged{tag: "tool_calls"} = prediction.calls
  end

  test "a picture that is none is refused by its field", %{dspex: dspex} do
    for {value, field} <- [
          {Image.from_binary!("no picture"), "inputs.photo.bytes"},
          {Image.from_binary!(@png, media_type: "image/gif"), "inputs.photo.media_type"},
          {%Tagged{tag: "image", value: %{"path" => "/etc/passwd"}}, "inputs.photo.path"}
        ] do
      assert {:error, %Error{type: :invalid_argument, details: %{"field" => ^field}}} =
               DSPex.predict(dspex, {"Predict", "photo: image -> answer"}, %{photo: value})
    end
  end
end
