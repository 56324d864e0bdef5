defmodule DSPex.Callback do
  @moduledoc """
  What a host function may know about the call in which it runs.

  A function of two arguments gets it as the second. Calls that the function makes to the
  same instance are made within the callback: they are not queued behind other work and
  they share its deadline. In the function's own process that happens by itself; from a
  process that it starts, pass it: `DSPex.predict(dspex, program, inputs, parent: callback)`.
  """

  alias DSPex.Clock

  @enforce_keys [:dspex, :id, :parent, :function, :deadline]
  defstruct @enforce_keys

  @type t :: %__MODULE__{
          dspex: DSPex.t(),
          id: non_neg_integer(),
          parent: non_neg_integer() | nil,
          function: String.t() | nil,
          deadline: integer()
        }

  @doc "Milliseconds until the call in which the function runs is over."
  @spec remaining_ms(t()) :: non_neg_integer()
  def remaining_ms(%__MODULE__{deadline: deadline}), do: Clock.remaining_ms(deadline)

  @doc "The callback in which the calling process runs, if any."
  @spec current(DSPex.t()) :: t() | nil
  def current(dspex), do: Process.get({__MODULE__, dspex})

  @doc false
  @spec enter(t()) :: term()
  def enter(%__MODULE__{dspex: dspex} = callback), do: Process.put({__MODULE__, dspex}, callback)
end
