defmodule DSPex.Signature.Type do
  @moduledoc false
  # The types of fields: from Elixir terms to what the protocol says (section 7.4).

  alias DSPex.{Error, Signature}

  @plain %{
    string: "str",
    integer: "int",
    float: "float",
    boolean: "bool",
    binary: "bytes",
    date: "date",
    datetime: "datetime",
    time: "time",
    duration: "duration",
    uuid: "uuid",
    decimal: "decimal",
    any: "any",
    map: "dict",
    list: "list",
    image: "image",
    audio: "audio",
    file: "file",
    history: "history",
    code: "code",
    reasoning: "reasoning",
    document: "document",
    citations: "citations",
    tool_calls: "tool_calls"
  }

  @expected "one of #{@plain |> Map.keys() |> Enum.sort() |> Enum.map_join(", ", &inspect/1)}, {:list, type}, " <>
              "{:map, type}, {:map, fields}, {:enum, values}, {:union, types}, {:optional, type}, " <>
              "a module that uses DSPex.Signature, or a string of the protocol"

  @doc "Returns the wire's form; throws `{:invalid, error}`."
  @spec to_wire(term(), String.t()) :: String.t() | map()
  def to_wire(type, _path) when is_map_key(@plain, type), do: Map.fetch!(@plain, type)
  def to_wire(type, _path) when is_binary(type) and type != "", do: type
  def to_wire({:list, type}, path), do: %{"kind" => "list", "items" => to_wire(type, path)}
  def to_wire({:optional, type}, path), do: %{"kind" => "optional", "of" => to_wire(type, path)}
  def to_wire({:enum, [_ | _] = values}, _path), do: %{"kind" => "enum", "values" => values}

  def to_wire({:union, [_ | _] = types}, path),
    do: %{"kind" => "union", "types" => Enum.map(types, &to_wire(&1, path))}

  def to_wire({:map, [{name, _} | _] = fields}, path) when is_atom(name) or is_binary(name),
    do: object(path |> String.split(".") |> List.last() |> Macro.camelize(), fields, path)

  def to_wire({:map, type}, path), do: %{"kind" => "map", "values" => to_wire(type, path)}

  def to_wire({:object, name, [_ | _] = fields}, path) when is_binary(name) or is_atom(name),
    do: object(to_string(name), fields, path)

  def to_wire(module, path) when is_atom(module) and module not in [nil, true, false] do
    if Code.ensure_loaded?(module) and function_exported?(module, :__signature__, 0),
      do: entity(module.__signature__()),
      else: invalid(path, module)
  end

  def to_wire(other, path), do: invalid(path, other)

  defp object(name, fields, path),
    do: %{"kind" => "object", "name" => name, "fields" => Signature.fields(fields, path)}

  # Another signature as a type: an object of all its fields.
  defp entity(%Signature{} = signature),
    do: %{"kind" => "object", "name" => signature.name, "fields" => signature.inputs ++ signature.outputs}

  @spec invalid(String.t(), term()) :: no_return()
  defp invalid(path, other), do: throw({:invalid, Error.invalid_argument("#{path}.type", @expected, other)})
end
