defmodule DSPex.Audio do
  @moduledoc """
  Sound, for fields of the type `:audio`.

      {:ok, question} = DSPex.Audio.from_path("question.wav")
      DSPex.predict(MyApp.DSPex, {"Predict", "question: audio -> answer"}, question: question)

  The server tells what kind of sound it is (WAV, MP3, AAC, FLAC, Ogg, MP4 or WebM) by its first
  bytes. It has at most 25 MiB; above 16 MiB the server and the instance need a larger `max_frame_bytes`.

      iex> audio = DSPex.Audio.from_binary!("RIFF....WAVE")
      iex> DSPex.Audio.to_binary(audio)
      {:ok, {"RIFF....WAVE", nil}}
  """

  alias DSPex.{Error, Media, Tagged}

  @doc "Sound from its bytes. `media_type:` is held against them by the server; it need not be given."
  @spec from_binary(binary() | DSPex.Binary.t(), keyword()) :: Media.result()
  def from_binary(data, options \\ []), do: Media.from_binary("audio", data, options, [:media_type])

  @doc "The same, or raises `DSPex.Error`."
  @spec from_binary!(binary() | DSPex.Binary.t(), keyword()) :: Tagged.t()
  def from_binary!(data, options \\ []), do: Error.bang(from_binary(data, options))

  @doc "Sound from a file, read here: the server sees its bytes and no path. Options as of `from_binary/2`."
  @spec from_path(Path.t(), keyword()) :: Media.result()
  def from_path(path, options \\ []), do: Media.from_path("audio", path, options, [:media_type])

  @doc "The same, or raises `DSPex.Error`."
  @spec from_path!(Path.t(), keyword()) :: Tagged.t()
  def from_path!(path, options \\ []), do: Error.bang(from_path(path, options))

  @doc "The bytes of a sound and its media type, or nil where nobody told."
  @spec to_binary(Tagged.t()) :: {:ok, {binary(), String.t() | nil}} | {:error, Error.t()}
  def to_binary(audio), do: Media.to_binary("audio", audio)
end
