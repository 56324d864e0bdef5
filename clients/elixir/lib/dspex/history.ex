defmodule DSPex.History do
  @moduledoc """
  What was said before, for fields of the type `:history`, where you keep the conversation yourself.

  `DSPex.Sessions` keeps it for you. Each message has the fields of the signature:

      iex> history = DSPex.History.new([%{question: "Capital of France?", answer: "Paris"}])
      iex> history = DSPex.History.append(history, %{question: "And of Spain?"}, DSPex.Prediction.new(%{"answer" => "Madrid"}))
      iex> DSPex.History.messages(history)
      [
        %{"question" => "Capital of France?", "answer" => "Paris"},
        %{"question" => "And of Spain?", "answer" => "Madrid"}
      ]
  """

  alias DSPex.{Prediction, Tagged}

  @typedoc "Values by field: of a map or keyword list, or of a prediction."
  @type message :: map() | keyword() | Prediction.t()

  @doc "A history of these messages, the oldest first."
  @spec new([message()]) :: Tagged.t()
  def new(messages \\ []) when is_list(messages),
    do: %Tagged{tag: "history", value: %{"messages" => Enum.map(messages, &fields/1)}}

  @doc "The same with one turn more: its inputs, and what the prediction gave."
  @spec append(Tagged.t(), message(), message()) :: Tagged.t()
  def append(%Tagged{tag: "history"} = history, inputs, outputs \\ %{}) do
    message = Map.merge(fields(inputs), fields(outputs))
    %{history | value: %{"messages" => messages(history) ++ [message]}}
  end

  @doc "The messages of a history, with string keys where it was made here or came from the server."
  @spec messages(Tagged.t()) :: [%{optional(String.t()) => term()}]
  def messages(%Tagged{tag: "history", value: %{"messages" => messages}}), do: messages

  defp fields(%Prediction{fields: fields}), do: fields
  defp fields(fields), do: Map.new(fields, fn {name, value} -> {to_string(name), value} end)
end
