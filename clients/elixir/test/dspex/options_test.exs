defmodule DSPex.OptionsTest do
  @moduledoc "Mistakes in options are told with key, expectation and what came."
  use ExUnit.Case, async: true

  alias DSPex.Options
  alias DSPex.Transport.Socket

  defp call_mistake(options) do
    assert {:error, error} = Options.call(options)
    {error.type, error.details["field"]}
  end

  defp instance_mistake(options) do
    assert {:error, error} = Options.instance([name: X] ++ options)
    error.details["field"]
  end

  test "options of a call" do
    for bad <- [
          timeout: 0,
          lm: 3,
          config: 1,
          adapter: 3,
          adapter: {:json, 1},
          on_violation: :warn,
          on_violation: {:retry, 9},
          lane: :fast,
          priority: 10,
          tenant: "",
          parent: 1,
          credit: 0
        ] do
      assert call_mistake([bad]) == {:invalid_argument, to_string(elem(bad, 0))}
    end

    assert {:error, %{details: %{"field" => "credit"}}} = Options.call([credit: 3], [:lm])
    assert call_mistake(:none) == {:invalid_argument, "options"}
    assert {:ok, %{timeout: 5}} = Options.call(timeout: 5, lm: "fast", lane: :batch, config: [n: 2])
  end

  test "options of an instance" do
    bad = [
      command: "dspex",
      args: [1],
      env: [1],
      lms: 1,
      functions: %{"f" => 1},
      secrets: 1,
      notes: [:all],
      tenant: "",
      tenants: ["a"],
      address: "/run/dspex.sock"
    ]

    for {key, value} <- bad, do: assert(instance_mistake([{key, value}]) == to_string(key))
    assert instance_mistake(lms: %{"a" => 1}) == "lms.a"
    assert instance_mistake(lms: %{"a" => %{modle: "x"}}) == "lms.a"
    assert instance_mistake(secrets: %{"k" => 1}) == "secrets.k"
    assert instance_mistake(env: %{"K" => 1}) == "env.K"
    assert instance_mistake(colour: 1) == "colour"
    assert instance_mistake(max_frame_bytes: 100) == "max_frame_bytes"
  end

  test "an address is a path that a Unix socket can have" do
    longest = "unix:/" <> String.duplicate("a", 106)
    assert {:ok, %{transport: Socket, address: ^longest}} = Options.instance(name: X, address: longest)

    for bad <- ["unix:", longest <> "a", "tcp:localhost:1", "unix:/a\0b", :socket],
        do: assert(instance_mistake(address: bad) == "address")
  end

  test "where a server runs already, nothing says how to start one" do
    for {key, value} <- [command: ["dspex", "serve"], args: ["-v"], cd: "/", env: %{"KEY" => "sk-123"}] do
      assert {:error, error} = Options.instance([{:name, X}, {:address, "unix:/s"}, {key, value}])
      assert error.details["field"] == to_string(key)
      assert error.message =~ "address" and not (error.message =~ "sk-123")
    end

    assert {:ok, %{transport: DSPex.Test}} =
             Options.instance(name: X, address: "unix:/s", transport: DSPex.Test)

    assert {:ok, %{transport: DSPex.Transport.Port}} = Options.instance(name: X, address: nil, args: [])
  end

  test "tenants have names and weights" do
    assert {:ok, options} = Options.instance(name: X, tenant: :web, tenants: [web: 100, jobs: 1])
    assert {options.tenant, options.tenants} == {"web", %{"web" => 100, "jobs" => 1}}
    for weight <- [0, 101, 1.5, "5", nil], do: assert(instance_mistake(tenants: %{a: weight}) == "tenants.a")
    assert instance_mistake(tenants: %{"" => 1}) == "tenants"
  end

  test "language models may be just their names" do
    assert {:ok, options} =
             Options.instance(
               name: X,
               lms: %{default: "sim/default", b: [model: "sim/b", options: [seed: 1]]}
             )

    assert options.lms.() == %{
             "default" => %{"model" => "sim/default"},
             "b" => %{"model" => "sim/b", "options" => %{seed: 1}}
           }
  end

  test "a wrong option of an instance raises where it is started" do
    assert_raise ArgumentError, ~r/colour: expected one of/, fn -> DSPex.start_link(name: X, colour: 1) end
  end

  describe "what nobody is to read" do
    @hidden [
      name: X,
      secrets: %{"key" => "sk-123"},
      env: %{"KEY" => "sk-123"},
      lms: %{"default" => %{model: "m", options: %{api_key: "sk-123"}}}
    ]

    test "is not printed with the options" do
      {:ok, options} = Options.instance(@hidden)
      refute inspect(options, limit: :infinity, structs: false) =~ "sk-123"
      refute inspect(DSPex.child_spec(@hidden), limit: :infinity) =~ "sk-123"
      assert {options.secrets.(), options.env.()} == {%{"key" => "sk-123"}, %{"KEY" => "sk-123"}}
      assert %{"options" => %{api_key: "sk-123"}} = options.lms.()["default"]
    end

    test "is not printed in mistakes" do
      for key <- [:secrets, :env, :lms], value <- [%{"k" => 'sk-123'}, "sk-123", %{"sk" => {"sk-123"}}] do
        assert {:error, error} = Options.instance([{:name, X}, {key, value}])
        refute inspect(error) =~ "123"
        assert error.details["field"] =~ to_string(key)
      end
    end

    test "may be hidden twice, as a supervisor's child does" do
      assert {:ok, options} = @hidden |> Options.hide() |> Options.hide() |> Options.instance()
      assert options.secrets.() == %{"key" => "sk-123"}
    end
  end
end
