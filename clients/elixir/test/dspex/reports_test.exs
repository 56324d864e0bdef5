defmodule DSPex.ReportsTest do
  @moduledoc "Reports: what goes out, pieces that become a text or a file, and what is refused."
  use ExUnit.Case, async: true

  import DSPex.Asking, only: [mistake: 1]
  import DSPex.Instances

  alias DSPex.{Error, Evaluation, Job, Reports, Test}

  @moduletag :capture_log
  @moduletag :tmp_dir

  # Sends pieces and then the outcome, as a server does.
  defp serve(server, id, pieces, kind \\ :reply, payload \\ %{"format" => "html"}) do
    for {piece, seq} <- Enum.with_index(pieces),
        do: Test.send_frame(server, :item, id, nil, %{"seq" => seq}, %{"text" => piece})

    Test.send_frame(server, kind, id, nil, %{}, payload)
  end

  test "pieces are a text", %{test: name} do
    controlled(name)
    task = Task.async(fn -> Reports.make(name, "e", format: :markdown) end)
    {server, %{id: id, method: "report.make", meta: meta}, payload} = receive_frame(:call)
    assert {16, %{"evaluation" => "e", "format" => "markdown"}} = {meta["credit"], payload}
    serve(server, id, ["# Ä", "b", ""])
    assert Task.await(task) == {:ok, "# Äb"}
  end

  test "several evaluations are compared, by struct or id", %{test: name} do
    controlled(name)
    options = [metrics: ["f1"], seed: 3, resamples: 500, confidence: 0.9]
    task = Task.async(fn -> Reports.make!(name, [%Evaluation{id: "a"}, "b"], options) end)
    {server, %{id: id}, payload} = receive_frame(:call)

    assert payload == %{
             "format" => "html",
             "comparison" => %{
               "evaluations" => ["a", "b"],
               "metrics" => ["f1"],
               "seed" => 3,
               "resamples" => 500,
               "confidence" => 0.9
             }
           }

    serve(server, id, ["x"])
    assert Task.await(task) == "x"
  end

  test "jobs and experiments are named by what they are", %{test: name} do
    controlled(name)

    for {kind, key, subject} <- [
          {:job, "job", %Job{id: "x"}},
          {:job, "job", "x"},
          {:experiment, "experiment", "x"}
        ] do
      task = Task.async(fn -> Reports.make(name, {kind, subject}, format: :json) end)
      {server, %{id: id}, payload} = receive_frame(:call)
      assert payload == %{key => "x", "format" => "json"}
      serve(server, id, ["{}"])
      assert Task.await(task) == {:ok, "{}"}
    end
  end

  test "a file is there when all of it is", %{test: name, tmp_dir: folder} do
    controlled(name)
    path = Path.join(folder, "runs.CSV")
    File.write!(path, "before")
    task = Task.async(fn -> Reports.write(name, {:experiment, "demos"}, path) end)
    {server, %{id: id}, %{"experiment" => "demos", "format" => "csv"}} = receive_frame(:call)
    Test.send_frame(server, :item, id, nil, %{"seq" => 0}, %{"text" => "a,b\r\n"})
    assert File.read!(path) == "before"
    Test.send_frame(server, :reply, id, nil, %{}, %{"format" => "csv"})
    assert {Task.await(task), File.read!(path)} == {:ok, "a,b\r\n"}
    assert File.ls!(folder) == ["runs.CSV"]
  end

  test "what breaks off replaces nothing", %{test: name, tmp_dir: folder} do
    controlled(name)
    path = Path.join(folder, "e.html")
    File.write!(path, "before")
    task = Task.async(fn -> Reports.write(name, "e", path) end)
    {server, %{id: id}, _payload} = receive_frame(:call)
    serve(server, id, ["<!doctype"], :fail, Error.to_wire(Error.new(:unknown_evaluation, "gone")))
    assert {:error, %Error{type: :unknown_evaluation}} = Task.await(task)
    assert {File.read!(path), File.ls!(folder)} == {"before", ["e.html"]}
  end

  test "a stream that is halted cancels its call", %{test: name} do
    controlled(name)
    task = Task.async(fn -> name |> Reports.stream("e") |> Enum.take(1) end)
    {server, %{id: id}, _payload} = receive_frame(:call)
    Test.send_frame(server, :item, id, nil, %{"seq" => 0}, %{"text" => "one"})
    assert Task.await(task) == ["one"]
    assert {_, %{id: ^id}, nil} = receive_frame(:cancel)
  end

  test "what cannot be is refused before anything is sent", %{test: name, tmp_dir: folder} do
    controlled(name)
    assert mistake(Reports.make(name, "e", format: :pdf)) == "format"
    assert mistake(Reports.make(name, "")) == "evaluation"
    assert mistake(Reports.make(name, ["a", ""])) == "subject[1]"
    assert mistake(Reports.make(name, {:experiment, 7.5})) == "experiment"
    assert mistake(Reports.make(name, "e", seed: 1)) == "seed"
    assert mistake(Reports.make(name, "e", color: 1)) == "color"
    assert mistake(Reports.write(name, "e", Path.join(folder, "e.pdf"))) == "format"
    assert_raise Error, ~r/format/, fn -> Reports.write!(name, "e", "e.pdf") end
  end

  test "a file that cannot be written is told", %{test: name, tmp_dir: folder} do
    controlled(name)
    path = Path.join([folder, "nowhere", "e.html"])
    assert {:error, %Error{details: %{"field" => "path"}} = error} = Reports.write(name, "e", path)
    assert error.message =~ "no such file or directory"
  end
end
