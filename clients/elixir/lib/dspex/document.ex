defmodule DSPex.Document do
  @moduledoc """
  Texts and PDFs that a model may cite, for fields of the type `:document`.

      {:ok, source} = DSPex.Document.from_path("sky.pdf", title: "On the sky")

      DSPex.predict(
        MyApp.DSPex,
        {"Predict", "sources: list[document], question -> answer, citations: citations"},
        sources: [source, DSPex.Document.new("The sea is blue too.")],
        question: "Why?"
      )

      iex> DSPex.Document.new("The sky is blue.", title: "Sky").value
      %{"data" => "The sky is blue.", "title" => "Sky"}
  """

  alias DSPex.{Error, Media, Tagged}

  @options [:title, :context, :media_type]

  @doc "A document from its text; `title:` and `context:` are told to the model. Raises `DSPex.Error` for other options."
  @spec new(String.t(), keyword()) :: Tagged.t()
  def new(text, options \\ []) when is_binary(text) do
    parts = Error.bang(Media.parts(options, [:title, :context]))
    %Tagged{tag: "document", value: Map.put(parts, "data", text)}
  end

  @doc "A document from the bytes of a PDF or of a text; `title:`, `context:`, `media_type:`."
  @spec from_binary(binary() | DSPex.Binary.t(), keyword()) :: Media.result()
  def from_binary(data, options \\ []), do: Media.from_binary("document", data, options, @options)

  @doc "The same, or raises `DSPex.Error`."
  @spec from_binary!(binary() | DSPex.Binary.t(), keyword()) :: Tagged.t()
  def from_binary!(data, options \\ []), do: Error.bang(from_binary(data, options))

  @doc "A document from a file, read here: the server sees its bytes and no path. Options as of `from_binary/2`."
  @spec from_path(Path.t(), keyword()) :: Media.result()
  def from_path(path, options \\ []), do: Media.from_path("document", path, options, @options)

  @doc "The same, or raises `DSPex.Error`."
  @spec from_path!(Path.t(), keyword()) :: Tagged.t()
  def from_path!(path, options \\ []), do: Error.bang(from_path(path, options))

  @doc "The bytes of a document and its media type, or nil where nobody told."
  @spec to_binary(Tagged.t()) :: {:ok, {binary(), String.t() | nil}} | {:error, Error.t()}
  def to_binary(document), do: Media.to_binary("document", document)
end
