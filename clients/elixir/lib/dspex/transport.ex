defmodule DSPex.Transport do
  @moduledoc """
  The seam between a connection and what carries its frames.

  `DSPex.Transport.Port` starts `dspex serve`; `DSPex.Transport.Socket` goes to one that
  runs already; `DSPex.Test` answers from a test. A transport carries whole frame bodies,
  without their length.

  The process that calls `c:open/1` is the owner: messages for it come to its mailbox and
  `c:message/2` says what they mean. `c:send/2` is called by any process.
  """

  @type handle :: term()

  @typedoc "Why a transport ended, in words that follow \"the server …\"."
  @type reason :: String.t()

  @doc """
  Starts or reaches whatever is at the other end; the caller becomes the owner.

  `:absent` means that nobody is there now and somebody may be soon, so calls wait;
  `:error` that calls need not wait, since it would fail again.
  """
  @callback open(DSPex.Options.t()) :: {:ok, handle()} | {:absent | :error, reason()}

  @doc """
  Sends one body without waiting.

  `:busy` means that nothing was sent and the caller may try again; `:closed` that nothing
  was sent and never will be.
  """
  @callback send(handle(), iodata()) :: :ok | :busy | :closed

  @doc "What a message in the owner's mailbox means; `:other` when it is not the transport's."
  @callback message(handle(), term()) :: {:body, binary()} | {:closed, reason()} | :other

  @doc "Ends the transport. The other end sees its input close. Never raises."
  @callback close(handle()) :: :ok
end
