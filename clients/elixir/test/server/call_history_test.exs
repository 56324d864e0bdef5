defmodule DSPex.CallHistoryServerTest do
  @moduledoc "What is kept of calls, told by the real server."
  use ExUnit.Case, async: false

  import DSPex.Servers

  alias DSPex.{CallHistory, Sessions}

  @moduletag :server
  @moduletag :capture_log
  @moduletag timeout: 120_000

  @qa {"Predict", "question -> answer"}
  @secret "CANARY-of-elixir"

  test "nothing is kept by a server that was not told to, but of a call that asks" do
    dspex = stored(__MODULE__.Off, "memory")
    DSPex.predict!(dspex, @qa, %{question: @secret})
    assert DSPex.history!(dspex) == %CallHistory{level: "off", calls: [], next: nil}
    prediction = DSPex.predict!(dspex, @qa, %{question: @secret}, history: true)
    assert [%{"predictor" => "self", "inputs" => ["question"], "error" => nil}] = prediction.requests
    assert %CallHistory{calls: [call]} = DSPex.history!(dspex)
    assert call["requests"] == prediction.requests
    refute inspect(call, limit: :infinity, printable_limit: :infinity) =~ @secret
  end

  test "texts are kept where the server was started so, by program and session" do
    dspex = stored(__MODULE__.Texts, "memory", ["--history", "texts"])
    chat = DSPex.create!(dspex, {"Predict", "question, history: history -> answer"}, program: "chat")
    session = Sessions.open!(dspex, chat)
    DSPex.predict!(dspex, session, %{question: @secret})
    DSPex.predict!(dspex, @qa, %{question: "Other?"})
    DSPex.predict!(dspex, @qa, %{question: "Unseen?"}, history: false)

    assert %{calls: [%{"program" => "chat", "outcome" => "ok"} = call]} =
             DSPex.history!(dspex, session: session)

    assert DSPex.history!(dspex, program: chat).calls == [call]
    assert List.last(hd(call["requests"])["messages"])["text"] =~ @secret
    assert %DateTime{} = call["at"]
    assert %{calls: [newest], next: next} = DSPex.history!(dspex, limit: 1)
    assert inspect(newest, limit: :infinity, printable_limit: :infinity) =~ "Other?"
    assert DSPex.history!(dspex, before: next).calls == [call]
  end
end
