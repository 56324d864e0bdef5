defmodule DSPex.ChoicesTest do
  @moduledoc "Adapters and what a violation leads to: in calls, specs and stored programs."
  use ExUnit.Case, async: true

  import DSPex.Asking

  alias DSPex.{Choices, Programs, Spec}

  @moduletag :capture_log

  @spec_map %{"module" => "Predict", "signature" => "question -> answer", "options" => %{}}
  @xml %{"name" => "xml", "options" => %{"native_response_types" => ["citations"]}}

  test "an adapter is a name, alone or with options" do
    assert Choices.adapter(:json) == {:ok, "json"}
    assert Choices.adapter("json") == {:ok, "json"}
    assert Choices.adapter({:xml, native_response_types: [:citations]}) == {:ok, @xml}
    assert Choices.adapter({"xml", %{"native_response_types" => ["citations"]}}) == {:ok, @xml}
    assert Choices.adapter(@xml) == {:ok, @xml}

    assert Choices.adapter({:json, use_native_function_calling: false}) ==
             {:ok, %{"name" => "json", "options" => %{"use_native_function_calling" => false}}}

    for wrong <- [nil, true, 3, "", {:json}, {:json, [1]}, {nil, []}],
        do: assert(Choices.adapter(wrong) == :error)
  end

  test "a violation leads to a failure, or to another try" do
    for fail <- [:fail, "fail"], do: assert(Choices.on_violation(fail) == {:ok, "fail"})

    for retry <- [{:retry, 2}, [retry: 2], %{retry: 2}, %{"retry" => 2}],
        do: assert(Choices.on_violation(retry) == {:ok, %{"retry" => 2}})

    for wrong <- [nil, :warn, {:retry, 0}, {:retry, 9}, {:retry, "2"}, %{retry: 1, more: 2}],
        do: assert(Choices.on_violation(wrong) == :error)
  end

  test "a stored program has them in its spec", %{test: name} do
    answering(name, %{"program" => "qa", "version" => 1})
    spec = Map.merge(@spec_map, %{"adapter" => @xml, "on_violation" => %{"retry" => 2}})
    options = [adapter: {:xml, native_response_types: [:citations]}, on_violation: {:retry, 2}]
    assert {:ok, _} = DSPex.create(name, {:predict, "question -> answer"}, options)
    assert asked() == {"program.create", %{}, %{"spec" => spec}}
    wish = %{module: :predict, signature: "question -> answer", adapter: @xml, on_violation: [retry: 2]}
    assert {:ok, _} = Programs.update(name, "qa", spec: wish)
    assert asked() == {"program.update", %{"program" => "qa"}, %{"spec" => spec}}
    assert %Spec{adapter: @xml, on_violation: %{"retry" => 2}} = read = Spec.from_wire(spec)
    assert Spec.to_wire(read) == spec
  end

  test "mistakes are told by their path", %{test: name} do
    answering(name, %{})
    spec = %{module: :predict, signature: "a -> b"}
    assert mistake(DSPex.predict(name, Map.put(spec, :adapter, 3), a: 1)) == "program.adapter"
    assert {:error, %{details: %{"field" => "spec.adapter"}}} = Spec.from(Map.put(spec, :adapter, 3))
    assert {:error, %{details: %{"field" => "spec.retries"}}} = Spec.from(Map.put(spec, :retries, 3))
    assert mistake(DSPex.create(name, spec, on_violation: :warn)) == "on_violation"
    assert mistake(DSPex.predict(name, spec, %{a: 1}, on_violation: {:retry, 0})) == "on_violation"
    assert mistake(DSPex.prompts(name, spec, adapter: 3)) == "adapter"
    assert mistake(DSPex.prompts(name, spec, inputs: 3)) == "inputs"
    assert mistake(DSPex.prompts(name, spec, lm: "")) == "lm"
    assert mistake(DSPex.describe_signature(name, "a -> b", state: [self: [demo: []]])) == "state.self.demo"
  end

  test "prompts are asked for of a signature, a spec and a stored program", %{test: name} do
    prompts = [%{"predictor" => "self", "messages" => []}]
    answering(name, %{"prompts" => prompts})
    assert {:ok, %{"prompts" => ^prompts}} = DSPex.describe_signature(name, "question -> answer")
    assert asked() == {"signature.describe", %{}, %{"signature" => "question -> answer"}}
    state = [self: [instructions: "Be brief."]]
    options = [adapter: :json, lm: :small, inputs: [question: "Why?"], state: state]

    more = %{
      "adapter" => "json",
      "lm" => "small",
      "inputs" => %{"question" => "Why?"},
      "state" => %{"self" => %{"instructions" => "Be brief."}}
    }

    assert {:ok, _} = DSPex.describe_signature(name, "question -> answer", options)
    assert asked() == {"signature.describe", %{}, Map.put(more, "signature", "question -> answer")}
    assert DSPex.prompts(name, {:predict, "question -> answer"}, options) == {:ok, prompts}
    assert asked() == {"signature.describe", %{}, Map.put(more, "spec", @spec_map)}
    assert DSPex.prompts!(name, DSPex.Program.new("qa", 3)) == prompts
    assert asked() == {"signature.describe", %{"program" => "qa", "version" => 3}, %{}}
  end
end
