defmodule DSPex.MixProject do
  use Mix.Project

  def project do
    [
      app: :dspex,
      version: "0.1.0",
      elixir: "~> 1.14",
      elixirc_paths: elixirc_paths(Mix.env()),
      start_permanent: Mix.env() == :prod,
      description: "DSPy for Elixir: signatures, programs, streams and callbacks over a Port",
      test_coverage: [summary: [threshold: 0]],
      # No dependencies: not even an optional one, since Mix then needs Hex to run the tests.
      deps: []
    ]
  end

  def application, do: [extra_applications: [:crypto, :logger]]

  defp elixirc_paths(:test), do: ["lib", "test/support"]
  defp elixirc_paths(_environment), do: ["lib"]
end
