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

  alias DSPex.{Call, Error, Options, PartialValue, Prediction, Status, Token, ToolEvent}

  @credit 64

  @typedoc "What comes before the prediction; a map is of a kind that only a later server has."
  @type element :: Token.t() | Status.t() | ToolEvent.t() | PartialValue.t() | map()

  @doc "Starts a streamed prediction whose elements come as messages to the calling process."
  @spec start(DSPex.t(), DSPex.program(), DSPex.inputs(), keyword()) :: {:ok, Call.t()} | {:error, Error.t()}
  def start(dspex, program, inputs, options \\ []) do
    with {:ok, call} <- start_call(dspex, program, inputs, options), do: {:ok, Call.remind(call)}
  end

  defp start_call(dspex, program, inputs, options) do
    with {:ok, options} <-
           Options.call(options, [
             :adapter,
             :config,
             :credit,
             :events,
             :history,
             :lm,
             :on_violation,
             :retriever,
             :trace
           ]),
         {:ok, payload, meta} <- DSPex.prediction_request(program, inputs, options) do
      meta = Map.put(meta, "credit", Map.get(options, :credit, @credit))
      DSPex.open(dspex, "program.predict", payload, meta, options)
    end
  end

  @doc """
  What a message means to a call that `start/4` opened; keep the call that comes back.

  Each call ends with `:done` or `:error`, also when the server says nothing: its deadline
  is a message too. To stop sooner, `DSPex.cancel/1` and wait for that end.
  """
  @spec handle(Call.t(), term()) ::
          {:next, element(), Call.t()}
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
    case start_call(dspex, program, inputs, options) do
      {:ok, call} -> call
      {:error, error} -> raise error
    end
  end

  defp next(:done), do: {:halt, :done}

  defp next(call) do
    case call |> Call.next() |> element() do
      {:next, element, call} ->
        {[element], call}

      {:done, prediction} ->
        {[prediction], :done}

      {:error, error} ->
        raise error
    end
  end

  # Also after a raise above: the call is settled then, and abandoning it does nothing.
  defp close(:done), do: :ok
  defp close(call), do: Call.abandon(call)

  defp element({:item, item, call}), do: {:next, read(item), Call.renew(call)}

  defp element({:ok, value, meta}),
    do: with({:ok, prediction} <- Prediction.from_wire(value, meta), do: {:done, prediction})

  defp element(other), do: other

  defp read(%{"type" => "token", "text" => text} = item) when is_binary(text) do
    %Token{
      text: text,
      field: item["field"],
      predictor: item["predictor"],
      run: item["run"],
      completion: item["completion"] || 0,
      last?: item["last"] == true
    }
  end

  defp read(%{"type" => "value", "value" => value} = item) do
    %PartialValue{
      field: item["field"],
      value: value,
      predictor: item["predictor"],
      run: item["run"],
      completion: item["completion"] || 0,
      last?: item["last"] == true
    }
  end

  defp read(%{"type" => "tool"} = item) do
    %ToolEvent{
      event: item["event"],
      name: item["name"],
      call: item["call"],
      arguments: item["arguments"],
      outcome: item["outcome"],
      code: item["code"]
    }
  end

  defp read(%{"type" => "status"} = item) do
    %Status{
      message: item["message"],
      stage: item["stage"],
      event: item["event"],
      name: item["name"],
      run: item["run"]
    }
  end

  # A type of a later server: as it is.
  defp read(item), do: item
end
