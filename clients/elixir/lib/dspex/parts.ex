defmodule DSPex.Parts do
  @moduledoc false
  # What of a module's options is made of other specs: the module inside, parts and nodes, and
  # what is wired to what. All else goes to the server as it is.

  alias DSPex.{Error, Options, Program, Spec}

  @part "a DSPex.Spec, {module, signature}, {module, signature, options}, a map of these, or a DSPex.Program"

  @spec to_wire(map() | keyword()) :: {:ok, map()} | {:error, Error.t()}
  def to_wire(options) do
    options = Map.new(options, fn {key, value} -> {to_string(key), value} end)

    with {:ok, options} <- put(options, "module", &part(&1, "options.module")),
         {:ok, options} <-
           put(options, "parts", &named(&1, "options.parts", fn one, path -> part(one, path) end)),
         {:ok, options} <-
           put(options, "nodes", &named(&1, "options.nodes", fn one, path -> part(one, path) end)),
         {:ok, options} <-
           put(options, "wires", &named(&1, "options.wires", fn one, path -> sources(one, path) end)),
         {:ok, options} <- put(options, "outputs", &sources(&1, "options.outputs")),
         do: {:ok, Map.new(options, fn {key, value} -> {key, Options.plain(value)} end)}
  end

  defp put(options, key, to_wire) do
    case options do
      %{^key => source} -> with {:ok, wire} <- to_wire.(source), do: {:ok, %{options | key => wire}}
      _ -> {:ok, options}
    end
  end

  # In any form that a spec may have here, or as it is on the wire.
  defp part(%Program{} = program, _path),
    do: with({:ok, program} <- Program.from(program), do: {:ok, Program.to_meta(program)})

  defp part(%{"module" => _} = on_the_wire, _path), do: {:ok, on_the_wire}
  defp part(%{"program" => _} = on_the_wire, _path), do: {:ok, on_the_wire}

  defp part(source, path),
    do: with({:ok, spec} <- Spec.from(Options.plain(source), path, @part), do: {:ok, Spec.to_wire(spec)})

  # A source is a name, `node.field`, or {:value, a constant}.
  defp sources(wires, path), do: named(wires, path, fn source, _path -> {:ok, source(source)} end)

  defp source({:value, constant}), do: %{"value" => constant}
  defp source(name) when is_atom(name) and name not in [nil, true, false], do: Atom.to_string(name)
  defp source(other), do: other

  # A map or keyword list with each name once; what is neither the server refuses.
  defp named(rows, path, to_wire) do
    if (is_map(rows) and not is_struct(rows)) or Keyword.keyword?(rows),
      do: Enum.reduce_while(rows, {:ok, %{}}, &add(&1, &2, path, to_wire)),
      else: {:ok, rows}
  end

  defp add({key, value}, {:ok, made}, path, to_wire) do
    name = to_string(key)
    path = "#{path}.#{name}"

    if is_map_key(made, name) do
      {:halt, {:error, Error.in_words(path, "each name once", "a second one")}}
    else
      case to_wire.(value, path) do
        {:ok, wire} -> {:cont, {:ok, Map.put(made, name, wire)}}
        {:error, error} -> {:halt, {:error, error}}
      end
    end
  end
end
