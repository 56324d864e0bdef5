defmodule DSPex.Connection.Silence do
  @moduledoc false
  # Whether a server that says nothing is idle or gone.
  #
  #   calm --somebody waits, quiet for probe_after--> asked --silence_timeout--> :silent
  #     ^                                               |
  #     +------------------ anything heard -------------+
  #
  # An idle server may be as silent as it likes. One that was asked must answer, even if
  # those who waited have given up meanwhile: short calls to a dead server would else never
  # find it out.

  @enforce_keys [:heard]
  defstruct heard: nil, asked: nil, doubted?: false

  @type t :: %__MODULE__{heard: integer(), asked: integer() | nil, doubted?: boolean()}

  @doc "Starts with the handshake's answer; times are in monotonic milliseconds."
  @spec new(integer()) :: t()
  def new(now), do: %__MODULE__{heard: now}

  @doc "Something came."
  @spec heard(t(), integer()) :: t()
  def heard(_silence, now), do: new(now)

  @doc "A caller gave up waiting: worth asking, although it waits no more."
  @spec doubt(t()) :: t()
  def doubt(silence), do: %{silence | doubted?: true}

  @doc "What to do now: `:wait`, `:ask` the server whether it lives, or take it for `:silent`."
  @spec tick(t(), integer(), boolean(), %{
          :probe_after => pos_integer(),
          :silence_timeout => pos_integer(),
          optional(any()) => any()
        }) :: {:wait | :ask | :silent, t()}
  def tick(%{asked: asked} = silence, now, _waiting?, limits) when asked != nil,
    do: {if(now - asked >= limits.silence_timeout, do: :silent, else: :wait), silence}

  def tick(%{doubted?: false} = silence, now, false, _limits), do: {:wait, %{silence | heard: now}}

  def tick(silence, now, _waiting?, limits) do
    if now - silence.heard >= limits.probe_after,
      do: {:ask, %{silence | asked: now}},
      else: {:wait, silence}
  end
end
