defmodule DSPex.StoredJobsTest do
  @moduledoc "Jobs with the real server: done, followed across its death, cancelled, refused, and called back."
  use ExUnit.Case, async: false

  import DSPex.Servers

  alias DSPex.{Error, Job, Jobs}

  @moduletag :server
  @moduletag :capture_log
  @moduletag :tmp_dir
  @moduletag timeout: 120_000

  @plugins Path.expand("../../../../tests/support", __DIR__)

  # A kind of job for tests: toil.
  defp toiling(name, store, functions \\ %{}) do
    options = options(name, store, ["--plugins", "plugin_jobs"])
    path = Enum.join([@plugins, System.get_env("PYTHONPATH", "")], ":")

    options =
      options
      |> Keyword.update!(:env, &Map.put(&1, "PYTHONPATH", path))
      |> Keyword.update!(:functions, &Map.merge(&1, functions))

    start_supervised!({DSPex, options})
    DSPex.echo!(name, nil, timeout: 60_000)
    name
  end

  test "a job is done, and told of from any number", %{test: name} do
    dspex = toiling(name, "memory")
    assert {:ok, %Job{created?: true} = job} = Jobs.submit(dspex, :toil, [steps: 3], key: "k", note: "why")
    assert {:ok, %Job{created?: false, id: id}} = Jobs.submit(dspex, :toil, [steps: 3], key: "k")
    assert id == job.id
    assert {:error, %Error{type: :job_key_reused}} = Jobs.submit(dspex, :toil, [steps: 4], key: "k")

    told = Enum.to_list(Jobs.follow(dspex, job))
    numbers = for {:event, event} <- told, do: event.number
    assert numbers == Enum.to_list(1..6)
    assert {:ended, %Job{state: :done, note: "why", spent: %{"lm_calls" => 3}}} = List.last(told)
    later = for {:event, event} <- Jobs.follow(dspex, job, after: 4), do: event.type
    assert later == ["step", "done"]
    assert %{entries: [%{number: 2, type: "started"}]} = Jobs.events!(dspex, job, after: 1, limit: 1)

    assert %{result: %{"digest" => _}, replay: %{"live" => 3}} = Jobs.result!(dspex, job)
    assert %{score: 3.0, content: %{"spec" => %{"step" => 3}}} = Jobs.best!(dspex, job)
    assert {:ok, %{"steps" => 3}} = Jobs.request(dspex, job)
    assert [%Job{id: ^id}] = Enum.to_list(Jobs.stream(dspex, kind: :toil, state: :done))
    assert :ok = Jobs.delete(dspex, job)
    assert {:error, %Error{type: :unknown_job}} = Jobs.get(dspex, job)
  end

  test "what cannot be done is refused before there is a job", %{test: name} do
    dspex = toiling(name, "memory")
    assert {:error, %Error{type: :invalid_argument} = error} = Jobs.submit(dspex, :toil, steps: "many")
    assert error.details["field"] == "request.steps"
    assert {:error, error} = Jobs.submit(dspex, :alchemy, [])
    assert error.details["field"] == "kind"
    assert Jobs.list!(dspex).entries == []
  end

  test "a spent budget is told with the best so far, and a cancelled job has one too", %{test: name} do
    dspex = toiling(name, "memory")
    job = Jobs.submit!(dspex, :toil, [steps: 50], budget: [lm_calls: 4])
    assert %Job{state: :failed, error: %Error{type: :budget_spent}} = Jobs.await!(dspex, job)
    assert {:error, error} = Jobs.result(dspex, job)
    assert %{"best" => %{"score" => 4.0}, "spent" => %{"lm_calls" => 4}} = error.details

    assert %Job{resumes: 1, error: nil} = Jobs.resume!(dspex, job, budget: [lm_calls: 60])
    assert %Job{state: :done, spent: %{"lm_calls" => 50}} = Jobs.await!(dspex, job)
    assert %{replay: %{"answered" => 4, "live" => 46, "diverged" => 0}} = Jobs.result!(dspex, job)
    assert {:error, %Error{type: :invalid_argument}} = Jobs.resume(dspex, job)

    job = Jobs.submit!(dspex, :toil, steps: 2, stand_still: true)
    Enum.find(Jobs.follow(dspex, job), &match?({:event, %{type: "step", data: %{"step" => 2}}}, &1))
    assert {:ok, %Job{}} = Jobs.cancel(dspex, job)
    assert %Job{state: :cancelled} = Jobs.await!(dspex, job)
    assert {:error, %Error{type: :cancelled}} = Jobs.result(dspex, job)
    assert %{score: score} = Jobs.best!(dspex, job)
    assert score in [1.0, 2.0]
  end

  test "an Elixir function is called by a job, and the server's death is a pause", %{
    test: name,
    tmp_dir: folder
  } do
    me = self()

    weigh = fn %{"step" => step} ->
      send(me, {:weighed, step})
      step * 10
    end

    dspex = toiling(name, "sqlite:" <> Path.join(folder, "state.db"), %{"weigh" => weigh})
    job = Jobs.submit!(dspex, :toil, steps: 4, ms: 300, function: "weigh")
    follower = Task.async(fn -> Enum.to_list(Jobs.follow(dspex, job)) end)
    assert_receive {:weighed, 1}, 60_000
    kill_server(dspex)

    told = Task.await(follower, 100_000)

    assert for({:event, event} <- told, do: event.number) ==
             Enum.to_list(1..length(for({:event, _} <- told, do: 1)))

    assert {:ended, %Job{state: :done, attempt: 2}} = List.last(told)
    assert_received {:weighed, 4}
  end
end
