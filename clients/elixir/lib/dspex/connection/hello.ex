defmodule DSPex.Connection.Hello do
  @moduledoc false
  # `system.hello`: what this client says of itself, and what it checks in the answer.

  alias DSPex.{Error, MessagePack, Options}

  @version 1

  @spec request(Options.t()) :: {:ok, binary()} | {:error, Error.t()}
  def request(options) do
    with {:ok, secrets} <- secrets(options), do: MessagePack.encode(body(options, secrets))
  end

  defp body(options, secrets) do
    %{
      "protocol" => "dspex",
      "versions" => [@version],
      "client" => options.client || "dspex-elixir/#{version()}",
      "max_frame_bytes" => options.max_frame_bytes,
      "functions" => Map.keys(options.functions),
      "lms" => options.lms.(),
      "secrets" => secrets,
      "notes" => options.notes,
      "require" => options.require
    }
    |> put("tenant", options.tenant)
    |> put("tenants", if(options.tenants != %{}, do: options.tenants))
  end

  # Not said at all where there is nothing to say: a server of before knows no such field.
  defp put(body, _field, nil), do: body
  defp put(body, field, value), do: Map.put(body, field, value)

  # The user's function may ask a vault that is down: a failed start like any other, told
  # without what it raised, which may hold what nobody is to read.
  defp secrets(options) do
    Options.secrets(options.secrets.())
  rescue
    reason -> {:error, Error.invalid_argument("secrets", "a function that returns a map", reason.__struct__)}
  catch
    kind, _reason -> {:error, Error.invalid_argument("secrets", "a function that returns a map", kind)}
  end

  defp version, do: to_string(Application.spec(:dspex, :vsn) || "unknown")

  @doc "Returns how large a body the server accepts."
  @spec check(term()) :: {:ok, pos_integer()} | {:error, Error.t()}
  def check(%{"protocol" => "dspex", "version" => @version, "max_frame_bytes" => bytes})
      when is_integer(bytes) and bytes >= 4096,
      do: {:ok, bytes}

  # Proof that nothing else writes to the wire.
  def check(welcome) do
    expected = ~s(a map with protocol "dspex", version #{@version} and max_frame_bytes)
    {:error, %{Error.invalid_argument("welcome", expected, welcome) | type: :handshake_failed, fault: :wire}}
  end
end
