defmodule DSPex.Name do
  @moduledoc false
  # What something in the store may be called: programs, sessions, tags, writes. The rule is
  # docs/protocol.md section 2.1; checked here too, so that a mistake is told without a server.

  @id_bytes 128
  @tag_bytes 64

  @spec id?(term()) :: boolean()
  def id?(value), do: name?(text(value), @id_bytes)

  @spec tag?(term()) :: boolean()
  def tag?(value), do: name?(text(value), @tag_bytes)

  @doc "What an id is, for messages."
  @spec id :: String.t()
  def id, do: "an id of 1 to #{@id_bytes} bytes without control characters"

  @doc "What a tag is, for messages."
  @spec tag :: String.t()
  def tag, do: "a tag of 1 to #{@tag_bytes} bytes without control characters"

  defp name?(text, most_bytes),
    do: byte_size(text) in 1..most_bytes and String.valid?(text) and not (text =~ ~r/[\x00-\x1F\x7F]/)

  defp text(value) when is_binary(value), do: value
  defp text(value) when is_atom(value) and value not in [nil, true, false], do: Atom.to_string(value)
  defp text(_other), do: ""
end
