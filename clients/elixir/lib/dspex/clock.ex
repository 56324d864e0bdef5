defmodule DSPex.Clock do
  @moduledoc false
  # Monotonic milliseconds, and deadlines in them.

  @spec now_ms() :: integer()
  def now_ms, do: System.monotonic_time(:millisecond)

  @spec remaining_ms(integer()) :: non_neg_integer()
  def remaining_ms(deadline), do: max(deadline - now_ms(), 0)
end
