defmodule DSPex.Connection.Backoff do
  @moduledoc false
  # How long to wait before the next server is started.

  # A server that lived this long did not die of its own start.
  @stable_ms 10_000

  @doc """
  The delay before attempt number `attempt` (from 0), in milliseconds.

  Doubles up to the longest; half of it is jitter, so that many instances do not come back at once.
  """
  @spec delay_ms({pos_integer(), pos_integer()}, non_neg_integer()) :: pos_integer()
  def delay_ms({first, longest}, attempt) do
    half = longest |> min(first * Integer.pow(2, min(attempt, 20))) |> div(2)
    half + :rand.uniform(half + 1)
  end

  @doc "The number of the next attempt, when a server was lost after `lived_ms` (`nil`: it never started)."
  @spec attempt(non_neg_integer(), non_neg_integer() | nil) :: non_neg_integer()
  def attempt(_attempt, lived_ms) when is_integer(lived_ms) and lived_ms > @stable_ms, do: 0
  def attempt(attempt, _lived_ms), do: attempt
end
