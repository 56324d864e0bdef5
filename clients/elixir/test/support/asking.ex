defmodule DSPex.Asking do
  @moduledoc "An instance whose server gives the same answer to everything and tells the test what it was asked."

  import DSPex.Instances, only: [handled: 2]
  import ExUnit.Assertions

  @doc "Starts it; `answer` is a value, a `DSPex.Error`, or a function of the payload."
  def answering(name, answer) do
    me = self()

    handled(name, fn method, payload, meta ->
      send(me, {:asked, method, Map.drop(meta, ["deadline_ms"]), payload})
      reply(answer, payload)
    end)
  end

  defp reply(%DSPex.Error{} = error, _payload), do: {:fail, error}
  defp reply(answer, payload) when is_function(answer), do: {:reply, answer.(payload)}
  defp reply(answer, _payload), do: {:reply, answer}

  @doc "The next call that came: method, meta without its deadline and its write_id, payload."
  def asked do
    assert_received {:asked, method, meta, payload}
    {method, Map.delete(meta, "write_id"), payload}
  end

  @doc "The write_id of the next call that came."
  def asked_write_id do
    assert_received {:asked, _method, %{"write_id" => write_id}, _payload}
    write_id
  end

  @doc "The field that an outcome complains about; nothing was sent."
  def mistake(outcome) do
    assert {:error, %DSPex.Error{type: :invalid_argument, details: %{"field" => field}}} = outcome
    refute_received {:asked, _method, _meta, _payload}
    field
  end
end
