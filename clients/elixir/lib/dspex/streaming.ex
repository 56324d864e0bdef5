defmodule DSPex.Streaming do
  @moduledoc """
  Predictions as they come: the lazy stream behind `DSPex.stream/4`, and messages for
  processes that have a mailbox loop of their own, such as a LiveView.

      {:ok, call} = DSPex.Streaming.start(MyApp.DSPex, program, inputs)

      def handle_info(message, state) do
        case DSPex.Streaming.handle(state.call, message) do
          {:next, %DSPex.Token{} = token, call} -> …
          {:done, %DSPex.Prediction{} = prediction} -> …
          {:error, %DSPex.Error{} = error} -> …
          :other -> …
        end
      end
  """

  alias DSPex.{Call, Error, Options, Prediction, Status, Telemetry, Token}

  @credit 64
  @event [:dspex, :call]

  @doc "Starts a streamed prediction whose elements come as messages to the calling process."
  @spec start(DSPex.t(), DSPex.program(), DSPex.inputs(), keyword()) :: {:ok, Call.t()} | {:error, Error.t()}
  def start(dspex, program, inputs, options \\ []) do
    with {:ok, options} <- Options.call(options),
         {:ok, payload, meta} <- DSPex.prediction_request(program, inputs, options) do
      meta = Map.put(meta, "credit", Map.get(options, :credit, @credit))
      DSPex.open(dspex, "program.predict", payload, meta, options)
    end
  end

  @doc """
  What a message means to a call that `start/4` opened; keep the call that comes back.

  There is no message for a server that says nothing at all: that ends with
  `:connection_lost` when the connection finds out.
  """
  @spec handle(Call.t(), term()) ::
          {:next, Token.t() | Status.t() | map(), Call.t()}
          | {:done, Prediction.t()}
          | {:error, Error.t()}
          | :other
  def handle(call, message), do: call |> Call.message(message) |> element()

  @doc false
  @spec stream(DSPex.t(), DSPex.program(), DSPex.inputs(), keyword()) :: Enumerable.t()
  def stream(dspex, program, inputs, options) do
    Stream.resource(fn -> open(dspex, program, inputs, options) end, &next/1, &close/1)
  end

  defp open(dspex, program, inputs, options) do
    Telemetry.start(@event, %{dspex: dspex, method: "program.predict"})

    case start(dspex, program, inputs, options) do
      {:ok, call} -> call
      {:error, error} -> raise error
    end
  end

  defp next(:done), do: {:halt, :done}

  defp next(call) do
    outcome = Call.next(call)

    case element(outcome) do
      {:next, element, call} ->
        {[element], call}

      {:done, prediction} ->
        ended(call, outcome)
        {[prediction], :done}

      {:error, error} ->
        ended(call, outcome)
        raise error
    end
  end

  # Also after a raise above: the call is settled then, and abandoning it does nothing.
  defp close(:done), do: :ok
  defp close(call), do: Call.abandon(call)

  defp ended(call, outcome) do
    Telemetry.stop(@event, call.started, %{dspex: call.dspex, method: call.method}, outcome)
  end

  defp element({:item, item, call}), do: {:next, read(item), renew(call)}

  defp element({:ok, value, meta}),
    do: with({:ok, prediction} <- Prediction.from_wire(value, meta), do: {:done, prediction})

  defp element(other), do: other

  # In halves, so that there is not one frame for each item.
  defp renew(%{credit: credit, window: window} = call) when credit * 2 <= window,
    do: Call.grant(call, window - credit)

  defp renew(call), do: call

  defp read(%{"type" => "token", "text" => text} = item) when is_binary(text) do
    %Token{text: text, field: item["field"], predictor: item["predictor"], last?: item["last"] == true}
  end

  defp read(%{"type" => "status"} = item) do
    %Status{message: item["message"], stage: item["stage"], event: item["event"], name: item["name"]}
  end

  # A type of a later server: as it is.
  defp read(item), do: item
end
