defmodule DSPex.File do
  @moduledoc """
  Files that a model reads, such as PDFs, for fields of the type `:file`.

      {:ok, paper} = DSPex.File.from_path("paper.pdf")
      DSPex.predict(MyApp.DSPex, {"Predict", "paper: file -> summary"}, paper: paper)

  It has at most 32 MiB; above 16 MiB the server and the instance need a larger
  `max_frame_bytes`, or the file goes to the provider first: `from_id/2`.

      iex> DSPex.File.from_binary!("a,b", media_type: "text/csv", filename: "a.csv").value["filename"]
      "a.csv"
      iex> DSPex.File.from_id("file-1").value
      %{"file_id" => "file-1"}
  """

  alias DSPex.{Error, Media, Tagged}

  @office "application/vnd.openxmlformats-officedocument."

  @options [:media_type, :filename]

  # Of what begins like something else, or like nothing; the rest is told by its bytes.
  @media_types %{
    ".csv" => "text/csv",
    ".md" => "text/markdown",
    ".html" => "text/html",
    ".json" => "application/json",
    ".xml" => "application/xml",
    ".docx" => @office <> "wordprocessingml.document",
    ".xlsx" => @office <> "spreadsheetml.sheet",
    ".pptx" => @office <> "presentationml.presentation"
  }

  @doc """
  A file from its bytes.

  `media_type:` is held against them by the server. `filename:` is told to the model, by the
  providers that take one: through DSPy's own clients most do not, and fail with `:lm_invalid_request`.
  """
  @spec from_binary(binary() | DSPex.Binary.t(), keyword()) :: Media.result()
  def from_binary(data, options \\ []), do: Media.from_binary("file", data, options, @options)

  @doc "The same, or raises `DSPex.Error`."
  @spec from_binary!(binary() | DSPex.Binary.t(), keyword()) :: Tagged.t()
  def from_binary!(data, options \\ []), do: Error.bang(from_binary(data, options))

  @doc """
  A file from a file, read here: the server sees its bytes and neither path nor name.

  Options as of `from_binary/2`; the default of `media_type:` is that of the path's ending,
  where the bytes would not tell.
  """
  @spec from_path(Path.t(), keyword()) :: Media.result()
  def from_path(path, options \\ []) do
    with {:ok, %Tagged{value: value} = file} <- Media.from_path("file", path, options, @options) do
      {:ok, %{file | value: Map.merge(told_by_ending(IO.chardata_to_string(path)), value)}}
    end
  end

  defp told_by_ending(path) do
    case @media_types[path |> Path.extname() |> String.downcase()] do
      nil -> %{}
      media_type -> %{"media_type" => media_type}
    end
  end

  @doc "The same, or raises `DSPex.Error`."
  @spec from_path!(Path.t(), keyword()) :: Tagged.t()
  def from_path!(path, options \\ []), do: Error.bang(from_path(path, options))

  @doc "A file that the provider has already, by the provider's id; `filename` where the model is to see one."
  @spec from_id(String.t(), String.t() | nil) :: Tagged.t()
  def from_id(id, filename \\ nil) when is_binary(id) do
    named = if filename, do: %{"filename" => filename}, else: %{}
    %Tagged{tag: "file", value: Map.put(named, "file_id", id)}
  end

  @doc "The bytes of a file and its media type, or nil where nobody told; an error where it has an id only."
  @spec to_binary(Tagged.t()) :: {:ok, {binary(), String.t() | nil}} | {:error, Error.t()}
  def to_binary(file), do: Media.to_binary("file", file)
end
