defmodule DSPex.Test.Recorder do
  @moduledoc """
  Writes down what a real server answers, for `DSPex.Test.replay/2`.

      {DSPex,
       name: MyApp.DSPex,
       transport: DSPex.Test.Recorder,
       transport_options: [path: "test/recordings/answers.frames"],
       lms: %{"default" => "openai/gpt-4o-mini"}}

  Frames are added to the end of the file: delete it to begin anew. Inputs and answers are
  in it as they are; the handshake, with its secrets, is not. Calls of host functions are
  neither recorded nor replayed: what the program answered in the end is.

  `transport_options`: `:path`, and `:transport`, the one that carries the frames
  (`DSPex.Transport.Port`).
  """

  @behaviour DSPex.Transport

  alias DSPex.Test.Recording

  @enforce_keys [:transport, :handle, :file]
  defstruct @enforce_keys

  @impl true
  def open(options) do
    settings = options.transport_options || []
    transport = Keyword.get(settings, :transport, DSPex.Transport.Port)

    with {:ok, file} <- open_file(settings[:path]),
         {:ok, handle} <- transport.open(%{options | transport_options: settings[:transport_options]}) do
      {:ok, %__MODULE__{transport: transport, handle: handle, file: file}}
    end
  end

  defp open_file(path) when is_binary(path) do
    with {:error, reason} <- File.open(path, [:append]),
         do: {:error, "could not be started: #{path} cannot be written: #{:file.format_error(reason)}"}
  end

  defp open_file(_missing),
    do: {:error, "could not be started: DSPex.Test.Recorder needs transport_options: [path: …]"}

  @impl true
  def send(%__MODULE__{} = it, body) do
    # Written down first, so that a call stands before its answer. One that is busy is tried
    # and written again: the reader goes by the last.
    write(it, :to, IO.iodata_to_binary(body))
    it.transport.send(it.handle, body)
  end

  @impl true
  def message(%__MODULE__{} = it, message) do
    with {:body, body} <- it.transport.message(it.handle, message) do
      write(it, :from, body)
      {:body, body}
    end
  end

  @impl true
  def close(%__MODULE__{} = it) do
    _ = File.close(it.file)
    it.transport.close(it.handle)
  end

  # The file may be closed already: the server was lost at this moment.
  defp write(it, direction, body) do
    case Recording.line(direction, body) do
      [] -> :ok
      line -> :file.write(it.file, line)
    end
  end
end
