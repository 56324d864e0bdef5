defmodule DSPex.LM.Answer do
  @moduledoc """
  What a language model answered.

  * `text`: what it wrote, or `""`
  * `tool_calls`: what it wants called: maps of `id`, `name` and `args`, whose keys are strings
  * `reasoning`: what it thought, where it tells; `citations`: where it got it from
  * `finish_reason`: `"stop"`, `"length"`, `"tool_call"`, …, or nil
  * `message`: all of that as a message, to go on with in `DSPex.LM.chat/3`
  * `others`: further answers, where more than one was asked for by `n`
  * `model`: by its provider's name; `meta`: what the call has cost, and more, as in a `DSPex.Prediction`
  """

  alias DSPex.Error

  @enforce_keys [:text]
  defstruct text: "",
            tool_calls: [],
            reasoning: nil,
            citations: [],
            finish_reason: nil,
            message: %{},
            others: [],
            model: nil,
            meta: %{}

  @type tool_call :: %{id: String.t(), name: String.t(), args: %{optional(String.t()) => term()}}

  @type t :: %__MODULE__{
          text: String.t(),
          tool_calls: [tool_call()],
          reasoning: String.t() | nil,
          citations: [map()],
          finish_reason: String.t() | nil,
          message: map(),
          others: [t()],
          model: String.t() | nil,
          meta: map()
        }

  defimpl String.Chars do
    def to_string(answer), do: answer.text
  end

  @doc false
  @spec from_wire(term(), map()) :: {:ok, t()} | {:error, Error.t()}
  def from_wire(%{"answers" => [_ | _] = answers} = value, meta) do
    [first | others] = Enum.map(answers, &read(&1, value["model"], meta))
    {:ok, %{first | others: others}}
  end

  def from_wire(%{"completions" => [_ | _] = texts} = value, meta) do
    reasons = value["finish_reasons"] || []

    answers =
      for {text, at} <- Enum.with_index(texts) do
        message = %{"role" => "assistant", "content" => text}
        %{"message" => message, "finish_reason" => Enum.at(reasons, at)}
      end

    from_wire(value |> Map.delete("completions") |> Map.put("answers", answers), meta)
  end

  def from_wire(other, _meta) do
    {:error,
     Error.new(:internal, "an answer was expected, #{inspect(other, limit: 3, printable_limit: 40)} came")}
  end

  defp read(answer, model, meta) do
    message = answer["message"] || %{}

    %__MODULE__{
      text: message["content"] || "",
      tool_calls: for(call <- message["tool_calls"] || [], do: call(call)),
      reasoning: answer["reasoning"],
      citations: answer["citations"] || [],
      finish_reason: answer["finish_reason"],
      message: message,
      model: model,
      meta: meta
    }
  end

  defp call(call), do: %{id: call["id"], name: call["name"], args: call["args"] || %{}}
end
