defmodule DSPex.Media do
  @moduledoc false
  # Bytes, files and text as the tagged values of media; docs/protocol.md section 3.1 is the table.
  # A path is read here, in the caller and with its rights: none goes over the wire.

  alias DSPex.{Binary, Error, Tagged}

  @mib 1_048_576
  @max_bytes %{"image" => 20 * @mib, "audio" => 25 * @mib, "file" => 32 * @mib, "document" => 32 * @mib}

  @type result :: {:ok, Tagged.t()} | {:error, Error.t()}

  @doc false
  # `known` are the options that the tag takes beside its bytes.
  @spec from_binary(String.t(), term(), keyword(), [atom()]) :: result()
  def from_binary(tag, data, options, known) do
    with {:ok, parts} <- parts(options, known), do: made(tag, data, parts)
  end

  @doc false
  @spec from_path(String.t(), term(), keyword(), [atom()]) :: result()
  def from_path(tag, path, options, known) do
    with {:ok, parts} <- parts(options, known),
         {:ok, path} <- path(path),
         :ok <- regular(path),
         {:ok, data} <- read(path, @max_bytes[tag] + 1) do
      made(tag, data, parts)
    end
  end

  @doc false
  # The options as parts of the value, those that are nil left out.
  @spec parts(keyword(), [atom()]) :: {:ok, %{optional(String.t()) => String.t()}} | {:error, Error.t()}
  def parts(options, known) do
    with :ok <- keyword(options), {:ok, options} <- known(options, known) do
      case Enum.find(options, fn {_key, value} -> not (is_nil(value) or is_binary(value)) end) do
        nil -> {:ok, for({key, value} <- options, value != nil, into: %{}, do: {Atom.to_string(key), value})}
        {key, value} -> invalid(to_string(key), "a string", value)
      end
    end
  end

  defp keyword(options) do
    if Keyword.keyword?(options), do: :ok, else: invalid("options", "a keyword list", options)
  end

  defp known(options, known) do
    case Keyword.validate(options, known) do
      {:ok, options} ->
        {:ok, options}

      {:error, [key | _]} ->
        {:error, Error.in_words(to_string(key), "one of #{Enum.join(known, ", ")}", "an unknown option")}
    end
  end

  defp made(tag, %Binary{data: data}, parts), do: made(tag, data, parts)

  defp made(tag, data, parts) when is_binary(data) do
    if byte_size(data) in 1..@max_bytes[tag]//1,
      do: {:ok, %Tagged{tag: tag, value: Map.put(parts, "bytes", Binary.new(data))}},
      else: {:error, Error.in_words(tag, sizes(tag), size(byte_size(data)))}
  end

  defp made(tag, other, _parts), do: {:error, Error.unshown(tag, "a binary", other)}

  defp sizes(tag), do: "1 byte to #{div(@max_bytes[tag], @mib)} MiB of #{tag}"
  defp size(0), do: "nothing"
  defp size(size), do: "#{size} bytes"

  defp path(path) do
    {:ok, IO.chardata_to_string(path)}
  rescue
    _not_text in [ArgumentError, FunctionClauseError, UnicodeConversionError] ->
      invalid("path", "a path", path)
  end

  # A pipe would wait for whoever writes into it, and a device may never end.
  defp regular(path) do
    case File.stat(path) do
      {:ok, %{type: :regular}} -> :ok
      {:ok, %{type: type}} -> {:error, Error.in_words("path", "a file", "a #{type}")}
      {:error, reason} -> unreadable(reason)
    end
  end

  # Not more than is needed to see that it is too much.
  defp read(path, most) do
    case File.open(path, [:read, :binary, :raw], &:file.read(&1, most)) do
      {:ok, {:ok, data}} -> {:ok, data}
      {:ok, :eof} -> {:ok, ""}
      {:ok, {:error, reason}} -> unreadable(reason)
      {:error, reason} -> unreadable(reason)
    end
  end

  defp unreadable(reason),
    do: {:error, Error.in_words("path", "a file that can be read", to_string(:file.format_error(reason)))}

  @doc false
  # The bytes of a value, whether it came from here or from the server, and their media type where it is known.
  @spec to_binary(String.t(), term()) :: {:ok, {binary(), String.t() | nil}} | {:error, Error.t()}
  def to_binary(tag, %Tagged{tag: tag, value: %{} = parts} = value) do
    case bytes(parts) do
      {:ok, data, media_type} -> {:ok, {data, media_type}}
      :error -> without_bytes(tag, value)
    end
  end

  def to_binary(tag, other), do: without_bytes(tag, other)

  defp without_bytes(tag, other),
    do: {:error, Error.unshown(tag, "a tagged #{tag} that holds its bytes", other)}

  defp bytes(%{"bytes" => %Binary{data: data}} = parts), do: {:ok, data, parts["media_type"]}
  defp bytes(%{"url" => "data:" <> rest}), do: data_uri(rest)
  defp bytes(%{"file_data" => "data:" <> rest}), do: data_uri(rest)
  defp bytes(%{"data" => data, "audio_format" => "mp3"}), do: base64(data, "audio/mpeg")
  defp bytes(%{"data" => data, "audio_format" => format}), do: base64(data, "audio/#{format}")
  defp bytes(%{"data" => data, "media_type" => "application/pdf" = pdf}), do: base64(data, pdf)
  defp bytes(%{"data" => data}) when is_binary(data), do: {:ok, data, "text/plain"}
  defp bytes(_parts), do: :error

  defp data_uri(rest) do
    case String.split(rest, ";base64,", parts: 2) do
      [media_type, data] -> base64(data, media_type)
      _ -> :error
    end
  end

  defp base64(text, media_type) when is_binary(text) do
    with {:ok, data} <- Base.decode64(text), do: {:ok, data, media_type}
  end

  defp base64(_other, _media_type), do: :error

  defp invalid(field, expected, got), do: {:error, Error.invalid_argument(field, expected, got)}
end
