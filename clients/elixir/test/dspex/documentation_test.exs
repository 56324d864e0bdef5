defmodule DSPex.DocumentationTest do
  @moduledoc "Every public function of a public module has documentation and a type."
  use ExUnit.Case, async: true

  # Callbacks of behaviours and exceptions: documented where they are defined.
  @inherited [fetch: 2, get_and_update: 3, pop: 2, exception: 1, message: 1]

  {:ok, modules} = :application.get_key(:dspex, :modules)

  # Without those of the tests.
  ours? = fn module -> to_string(module.module_info(:compile)[:source]) =~ "/lib/dspex" end

  for module <- modules, ours?.(module) do
    {:docs_v1, _, :elixir, _, documentation, _, functions} = Code.fetch_docs(module)

    if documentation != :hidden do
      @module module
      @functions functions
      test "#{inspect(module)}" do
        assert public_without_doc(@functions, @module) == []
        assert public_without_spec(@functions, @module) == []
      end
    end
  end

  test "there are such modules" do
    assert {:docs_v1, _, _, _, %{"en" => _}, _, _} = Code.fetch_docs(DSPex)
  end

  defp public(functions, kinds) do
    for {{kind, name, arity}, _, _, documentation, _} <- functions,
        kind in kinds,
        documentation != :hidden,
        {name, arity} not in @inherited,
        not String.starts_with?(Atom.to_string(name), "_"),
        do: {{name, arity}, documentation}
  end

  defp public_without_doc(functions, module) do
    callbacks = callbacks(module)

    for {function, :none} <- public(functions, [:function, :macro]), function not in callbacks, do: function
  end

  defp public_without_spec(functions, module) do
    {:ok, specs} = Code.Typespec.fetch_specs(module)
    typed = for {function, _} <- specs, do: function

    for {function, _} <- public(functions, [:function]),
        function not in (typed ++ callbacks(module)),
        do: function
  end

  defp callbacks(module) do
    for {:behaviour, behaviours} <- module.module_info(:attributes),
        behaviour <- behaviours,
        callback <- behaviour.behaviour_info(:callbacks),
        do: callback
  end
end
