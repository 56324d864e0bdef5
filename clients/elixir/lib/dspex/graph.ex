defmodule DSPex.Graph do
  @moduledoc """
  What a program is made of: its modules, predictors, tools, rewards and language models.

      {:ok, %DSPex.Graph{} = graph} = DSPex.graph(MyApp.DSPex, "qa")
      for %{"kind" => "predictor"} = node <- graph.nodes, do: {node["predictor"], node["demos"]}

      {:ok, text} = DSPex.graph(MyApp.DSPex, "qa", format: :mermaid)
      {:ok, svg} = DSPex.graph(MyApp.DSPex, {:react, "question -> answer", tools: tools}, format: :svg)
      File.write!("qa.svg", svg)

  * `nodes`: maps of `"id"`, `"kind"` (`"program"`, `"module"`, `"predictor"`, `"tool"`,
    `"reward"`, `"lm"`), `"name"`, and what else is known by kind, as docs/protocol.md section
    7.2 lists it. The first is the program itself
  * `edges`: maps of `"from"`, `"to"`, `"kind"` (`"contains"`, `"calls"`, `"feeds"`), and for a
    field that is fed its `"label"`

  A Mermaid text goes into Livebook as `Kino.Mermaid.new(text)`, and into Markdown in a block of
  the language `mermaid`. The SVG is whole in itself, has no script, and follows its reader's
  light or dark.
  """

  alias DSPex.{Error, Options, Program, Spec, Stored}

  @formats [:data, :mermaid, :svg]

  @enforce_keys [:nodes, :edges]
  defstruct [:nodes, :edges]

  @type t :: %__MODULE__{nodes: [%{String.t() => term()}], edges: [%{String.t() => String.t()}]}

  @doc false
  @spec ask(DSPex.t(), Program.t() | String.t() | Spec.source(), keyword()) :: DSPex.result(t() | String.t())
  def ask(dspex, program, options) do
    with {:ok, format, options} <- format(options),
         {:ok, options} <- Options.call(options, []),
         {:ok, payload, meta} <- target(program) do
      payload = Map.put(payload, "format", Atom.to_string(format))
      dspex |> Stored.ask("program.graph", payload, meta, options) |> Stored.read(&read/1)
    end
  end

  defp format(options) do
    case Keyword.keyword?(options) && Keyword.pop(options, :format, :data) do
      {format, options} when format in @formats -> {:ok, format, options}
      false -> {:ok, :data, options}
      {format, _} -> {:error, Error.invalid_argument("format", "one of :data, :mermaid, :svg", format)}
    end
  end

  defp target(program) when is_binary(program) or is_struct(program, Program),
    do: with({:ok, program} <- Program.from(program), do: {:ok, %{}, Program.to_meta(program)})

  defp target(spec),
    do: with({:ok, spec} <- Spec.from_program(spec), do: {:ok, %{"spec" => Spec.to_wire(spec)}, %{}})

  defp read(%{"text" => text}), do: text
  defp read(%{"nodes" => nodes, "edges" => edges}), do: %__MODULE__{nodes: nodes, edges: edges}
end
