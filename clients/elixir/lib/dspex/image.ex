defmodule DSPex.Image do
  @moduledoc """
  Pictures, for fields of the type `:image`.

      {:ok, photo} = DSPex.Image.from_path("photo.jpg")
      DSPex.predict(MyApp.DSPex, {"Predict", "photo: image, question -> answer"}, photo: photo, question: "What is this?")

  The server tells what kind of picture it is (PNG, JPEG, GIF, WebP, BMP or TIFF) by its first
  bytes. It has at most 20 MiB; above 16 MiB the server and the instance need a larger
  `max_frame_bytes`. What a prediction gives is a `DSPex.Tagged` too: see `to_binary/1`.

      iex> image = DSPex.Image.from_binary!(<<0x89, "PNG\\r\\n", 0x1A, "\\n">>, media_type: "image/png")
      iex> {image.tag, image.value["media_type"]}
      {"image", "image/png"}
      iex> DSPex.Image.from_url!("https://example.test/a.png").value
      %{"url" => "https://example.test/a.png"}
      iex> {:error, error} = DSPex.Image.from_url("photo.jpg")
      iex> error.message
      "url: expected a URL of http, https, gs or data, got \\"photo.jpg\\""
  """

  alias DSPex.{Error, Media, Tagged}

  @schemes ["http://", "https://", "gs://", "data:"]

  @doc "A picture from its bytes. `media_type:` is held against them by the server; it need not be given."
  @spec from_binary(binary() | DSPex.Binary.t(), keyword()) :: Media.result()
  def from_binary(data, options \\ []), do: Media.from_binary("image", data, options, [:media_type])

  @doc "The same, or raises `DSPex.Error`."
  @spec from_binary!(binary() | DSPex.Binary.t(), keyword()) :: Tagged.t()
  def from_binary!(data, options \\ []), do: Error.bang(from_binary(data, options))

  @doc "A picture from a file, read here: the server sees its bytes and no path. Options as of `from_binary/2`."
  @spec from_path(Path.t(), keyword()) :: Media.result()
  def from_path(path, options \\ []), do: Media.from_path("image", path, options, [:media_type])

  @doc "The same, or raises `DSPex.Error`."
  @spec from_path!(Path.t(), keyword()) :: Tagged.t()
  def from_path!(path, options \\ []), do: Error.bang(from_path(path, options))

  @doc "A picture by its URL (`http`, `https`, `gs` or `data`), which only the model's provider fetches."
  @spec from_url(String.t()) :: Media.result()
  def from_url(url) do
    if is_binary(url) and String.starts_with?(String.downcase(url, :ascii), @schemes),
      do: {:ok, %Tagged{tag: "image", value: %{"url" => url}}},
      else: {:error, Error.invalid_argument("url", "a URL of http, https, gs or data", url)}
  end

  @doc "The same, or raises `DSPex.Error`."
  @spec from_url!(String.t()) :: Tagged.t()
  def from_url!(url), do: Error.bang(from_url(url))

  @doc """
  The bytes of a picture and its media type, or nil where nobody told; an error where it is a URL.

      iex> DSPex.Image.to_binary(%DSPex.Tagged{tag: "image", value: %{"url" => "data:image/gif;base64,R0lG"}})
      {:ok, {"GIF", "image/gif"}}
  """
  @spec to_binary(Tagged.t()) :: {:ok, {binary(), String.t() | nil}} | {:error, Error.t()}
  def to_binary(image), do: Media.to_binary("image", image)
end
