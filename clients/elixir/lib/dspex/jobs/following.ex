defmodule DSPex.Jobs.Following do
  @moduledoc false
  # One job that is followed: from call to call, so that a server that ends, a connection that
  # breaks or a deadline is no more than a pause.

  alias DSPex.{Call, Error, Job}
  alias DSPex.Jobs.Event

  @credit 64
  @pause_ms 100
  @longest_pause_ms 2_000

  # What another call may do better; where the server says of others that they are, it is so too.
  @passing ~w(connection_lost draining deadline overloaded unavailable store_unavailable)a

  @enforce_keys [:dspex, :job, :options, :after, :until]
  defstruct [:dspex, :job, :options, :after, :until, :patience, :call, items?: true, failures: 0]

  @type t :: %__MODULE__{}

  @type step ::
          {:item, {:event, Event.t()} | {:progress, map()}, t()} | {:ended, Job.t()} | {:error, Error.t()}

  @doc "The next thing that happens; waits for it."
  @spec next(t()) :: step()
  def next(%{call: nil} = following) do
    meta = if following.items?, do: %{"credit" => @credit}, else: %{}
    payload = %{"job" => following.job, "after" => following.after}

    case DSPex.open(following.dspex, "job.follow", payload, meta, options(following)) do
      {:ok, call} -> next(%{following | call: call})
      {:error, error} -> failed(%{following | failures: following.failures + 1}, error)
    end
  end

  def next(following) do
    case Call.next(following.call) do
      {:item, item, call} -> item(item, %{following | call: Call.renew(call), failures: 0})
      {:ok, row, _meta} -> {:ended, Job.from_wire(row)}
      # A call whose time was over while nothing happened is no failure of anybody.
      {:error, %{type: :deadline} = error} -> failed(%{following | call: nil}, error)
      {:error, error} -> failed(%{following | call: nil, failures: following.failures + 1}, error)
    end
  end

  @doc "Nobody follows any more."
  @spec stop(t()) :: :ok
  def stop(%{call: nil}), do: :ok
  def stop(%{call: call}), do: Call.abandon(call)

  defp item(%{"event" => row}, following) do
    event = Event.from_wire(row)
    {:item, {:event, event}, %{following | after: event.number}}
  end

  defp item(%{"progress" => figures}, following), do: {:item, {:progress, figures}, following}
  # Of a later server.
  defp item(_other, following), do: next(following)

  # Each call has its time, and all together that of the caller, if he has named one.
  defp options(%{until: nil} = following), do: following.options

  defp options(%{until: until, options: options}) do
    left = max(until - DSPex.Clock.now_ms(), 1)
    Map.update(options, :timeout, left, &min(&1, left))
  end

  defp failed(following, error) do
    if error.type in @passing and not over?(following) and following.failures < following.patience do
      Process.sleep(pause(following, error))
      next(following)
    else
      {:error, error}
    end
  end

  defp over?(%{until: nil}), do: false
  defp over?(%{until: until}), do: DSPex.Clock.now_ms() >= until

  defp pause(%{failures: 0}, _error), do: 1

  defp pause(%{failures: failures} = following, error) do
    said = error.retry_after_ms || 0
    pause = max(said, @pause_ms * Integer.pow(2, min(failures - 1, 5)))
    pause |> min(@longest_pause_ms) |> min(left(following))
  end

  defp left(%{until: nil}), do: @longest_pause_ms
  defp left(%{until: until}), do: max(until - DSPex.Clock.now_ms(), 0)
end
