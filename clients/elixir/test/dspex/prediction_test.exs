defmodule DSPex.PredictionTest do
  @moduledoc "Ways to a prediction's fields, and the bound on new atoms."
  use ExUnit.Case, async: false

  alias DSPex.{Prediction, Tagged}

  test "fields are reached by dot, atom and string" do
    prediction = Prediction.new(%{"answer" => "42"})
    assert {prediction.answer, prediction[:answer], prediction["answer"]} == {"42", "42", "42"}
    assert %{answer: "42"} = prediction
    assert prediction[:other] == nil
  end

  test "a field named as one of the struct's own keys does not hide it" do
    prediction = Prediction.new(%{"meta" => "field", "__struct__" => "field"}, %{"worker" => 1})
    assert prediction.meta == %{"worker" => 1}
    assert prediction["meta"] == "field"
    assert is_struct(prediction, Prediction)
  end

  test "updating through Access keeps the dot in step" do
    prediction = put_in(Prediction.new(%{"answer" => "42"})[:answer], "43")
    assert {prediction.answer, prediction.fields} == {"43", %{"answer" => "43"}}
    assert {"43", prediction} = pop_in(prediction[:answer])
    refute is_map_key(prediction, :answer)
  end

  test "what the wire says besides fields is kept" do
    parts = %{"fields" => %{"answer" => "42"}, "usage" => %{"sim" => 1}, "reasoning" => "So it is."}

    assert {:ok, prediction} =
             Prediction.from_wire(%Tagged{tag: "prediction", value: parts}, %{"attempt" => 2})

    assert {prediction.usage, prediction.reasoning, prediction.meta} ==
             {%{"sim" => 1}, "So it is.", %{"attempt" => 2}}
  end

  test "anything else is an error, not a crash" do
    assert {:error, %{type: :internal}} = Prediction.from_wire(%{"answer" => 1}, %{})
  end

  test "a server cannot fill the atom table" do
    before = :erlang.system_info(:atom_count)
    for number <- 1..3_000, do: Prediction.new(%{"never_seen_#{number}" => 1})
    assert :erlang.system_info(:atom_count) - before <= 1_100
    assert Prediction.new(%{"never_seen_3000" => 1})["never_seen_3000"] == 1
  end
end
