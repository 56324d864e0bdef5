defmodule DSPex.Connection.Gate do
  @moduledoc false
  # Where calls wait while there is no server: the caller's side, which looks for the open
  # wire, and the connection's side, which keeps those that wait.

  alias DSPex.{Clock, Error, OpenCalls, Wire}

  # How often to look whether a connection that crashed is back.
  @restart_ms 2

  defstruct waiting: []

  @type t :: %__MODULE__{waiting: [{:gen_statem.from(), deadline :: integer()}]}
  @type answer :: {:ok, Wire.t()} | {:error, Error.t()}

  # -- the caller's side -----------------------------------------------------------------

  @doc "The open wire; waits for it until the deadline."
  @spec wire(atom(), integer()) :: answer()
  def wire(dspex, deadline) do
    case OpenCalls.wire(dspex) do
      {:ok, %{owner: owner} = wire} ->
        if Process.alive?(owner), do: {:ok, wire}, else: await_restart(dspex, deadline)

      {:connecting, _why} ->
        await_wire(dspex, deadline)

      {:error, error} ->
        {:error, error}
    end
  end

  defp await_wire(dspex, deadline) do
    request = {:wire, deadline}
    :gen_statem.call(DSPex.Connection.name(dspex), request, {:clean_timeout, Clock.remaining_ms(deadline)})
  catch
    :exit, {:timeout, _} -> {:error, unavailable(dspex)}
    # It crashed: its supervisor brings it back.
    :exit, _reason -> await_restart(dspex, deadline)
  end

  defp await_restart(dspex, deadline) do
    if Clock.remaining_ms(deadline) == 0 do
      {:error, unavailable(dspex)}
    else
      Process.sleep(@restart_ms)
      wire(dspex, deadline)
    end
  end

  defp unavailable(dspex) do
    message = "the server of #{inspect(dspex)} did not become ready in the call's time"

    case OpenCalls.wire(dspex) do
      {:connecting, why} when why != nil -> Error.new(:unavailable, "#{message}: it #{why}")
      _ready_or_none -> Error.new(:unavailable, message)
    end
  end

  # -- the connection's side -------------------------------------------------------------

  @doc "Keeps a caller until `open/2` or its deadline."
  @spec wait(t(), :gen_statem.from(), integer()) :: t()
  def wait(gate, from, deadline), do: %{gate | waiting: [{from, deadline} | gate.waiting]}

  @doc "Forgets callers whose time is over: nobody tells when they give up."
  @spec prune(t()) :: t()
  def prune(gate) do
    now = Clock.now_ms()
    %{gate | waiting: Enum.filter(gate.waiting, fn {_from, deadline} -> deadline > now end)}
  end

  @doc "Answers everybody who waits; returns the empty gate and the replies."
  @spec open(t(), answer()) :: {t(), [:gen_statem.reply_action()]}
  def open(gate, answer) do
    {%{gate | waiting: []}, for({from, _deadline} <- gate.waiting, do: {:reply, from, answer})}
  end
end
