defmodule DSPex.JobsTest do
  @moduledoc "Jobs: the frames that go out, what comes of the answers, and following across broken connections."
  use ExUnit.Case, async: true

  import DSPex.Asking
  import DSPex.Instances

  alias DSPex.{Error, Job, Jobs, Page, Program, Test}
  alias DSPex.Experiments.Run
  alias DSPex.Jobs.Event

  doctest Job

  @moduletag :capture_log

  @row %{
    "job" => "job-1",
    "kind" => "optimize",
    "state" => "done",
    "attempt" => 2,
    "events" => 3,
    "budget" => %{"usd" => 5.0},
    "spent" => %{"lm_calls" => 7},
    "saved" => %{"program" => "qa", "version" => 4},
    "replay" => %{"answered" => 3, "live" => 4, "diverged" => 0}
  }

  test "a job is submitted as it was asked for", %{test: name} do
    answering(name, %{"job" => "job-1", "created" => true, "experiment" => "e", "run" => "run-7"})

    assert {:ok, %Job{id: "job-1", kind: "optimize", created?: true, state: nil, run: run}} =
             Jobs.submit(name, :optimize, [program: "qa", optimizer: [optimizer: "MIPROv2"]],
               key: "k",
               budget: [usd: 5, lm_calls: 10],
               deadline: 1_500,
               experiment: "e",
               note: "why"
             )

    assert run == Run.new("e", "run-7")

    assert {"job.submit", %{}, payload} = asked()

    assert payload == %{
             "kind" => "optimize",
             "request" => %{"program" => "qa", "optimizer" => %{"optimizer" => "MIPROv2"}},
             "key" => "k",
             "budget" => %{"usd" => 5, "lm_calls" => 10},
             "deadline_s" => 1.5,
             "experiment" => "e",
             "note" => "why"
           }

    assert {:ok, _} = Jobs.submit(name, "evaluate", %{}, write_id: "w")
    assert asked_write_id() == "w"
  end

  test "what is no option is refused without a server", %{test: name} do
    answering(name, %{})
    assert mistake(Jobs.submit(name, "k", %{}, budget: [euros: 5])) == "budget"
    assert mistake(Jobs.submit(name, "k", %{}, deadline: 0)) == "deadline"
    assert mistake(Jobs.submit(name, "k", %{}, key: "")) == "key"
    assert mistake(Jobs.submit(name, "k", %{}, experiment: "")) == "experiment"
    assert mistake(Jobs.get(name, "")) == "job"
    assert mistake(Jobs.get(name, %{id: "job-1"})) == "job"
    assert mistake(Jobs.await(name, "job-1", after: -1)) == "after"
    assert mistake(Jobs.events(name, "job-1", limit: 0)) == "limit"
  end

  test "a job is resumed with other limits", %{test: name} do
    answering(name, Map.merge(@row, %{"state" => "queued", "resumes" => 1}))

    assert {:ok, %Job{state: :queued, resumes: 1}} =
             Jobs.resume(name, "job-1", budget: [usd: 10], deadline: 500)

    assert {"job.resume", %{}, payload} = asked()
    assert payload == %{"job" => "job-1", "budget" => %{"usd" => 10}, "deadline_s" => 0.5}
    assert %Job{} = Jobs.resume!(name, %Job{id: "job-1"})
    assert {"job.resume", %{}, %{"job" => "job-1"}} = asked()
    assert mistake(Jobs.resume(name, "job-1", budget: [euros: 5])) == "budget"
    assert mistake(Jobs.resume(name, "job-1", key: "k")) == "key"
  end

  test "a job is read whole", %{test: name} do
    failure = %{"code" => "worker_died", "message" => "it died", "details" => %{"deaths" => 3}}
    versions = %{"begun" => %{"dspy" => "3.4.1"}, "latest" => %{"dspy" => "3.5.0"}}
    more = %{"state" => "failed", "error" => failure, "cancelling" => false, "versions" => versions}
    answering(name, Map.merge(@row, more))
    assert {:ok, job} = Jobs.get(name, %Job{id: "job-1"})
    assert %Job{state: :failed, attempt: 2, saved: %Program{id: "qa", version: 4}} = job
    assert %Error{type: :worker_died, details: %{"deaths" => 3}} = job.error
    assert job.versions["latest"] == %{"dspy" => "3.5.0"}
    assert Job.ended?(job)
    assert {"job.get", %{}, %{"job" => "job-1"}} = asked()
    assert {:ok, nil} = Jobs.request(name, "job-1")
    assert {"job.get", %{}, %{"job" => "job-1", "request" => true}} = asked()
    assert {:ok, %Job{}} = Jobs.cancel(name, "job-1")
    assert {"job.cancel", %{}, %{"job" => "job-1"}} = asked()
  end

  test "jobs come in pages", %{test: name} do
    answering(name, %{"jobs" => [@row], "next" => "job-1"})

    assert {:ok, %Page{entries: [%Job{state: :done}], next: "job-1"}} =
             Jobs.list(name, state: :open, kind: "k")

    assert {"job.list", %{}, %{"state" => "open", "kind" => "k"}} = asked()
  end

  test "events come in pages", %{test: name} do
    row = %{"n" => 3, "type" => "trial", "attempt" => 1, "score" => 0.5}
    answering(name, %{"events" => [row], "next" => 3})
    assert {:ok, %Page{entries: [event], next: 3}} = Jobs.events(name, "job-1", after: 2, limit: 1)
    assert %Event{number: 3, type: "trial", attempt: 1, data: %{"score" => 0.5}} = event
    assert {"job.events", %{}, %{"job" => "job-1", "after" => 2, "limit" => 1}} = asked()
  end

  test "results, best results and refusals", %{test: name} do
    answering(name, fn
      %{"job" => "done"} -> %{"job" => "done", "result" => 1, "saved" => nil, "replay" => %{}}
    end)

    assert {:ok, %{result: 1, saved: nil, replay: %{}}} = Jobs.result(name, "done")
  end

  test "a job that is not done has no result", %{test: name} do
    answering(name, Error.new(:job_not_done, "it runs"))
    assert {:error, %Error{type: :job_not_done, retryable?: true}} = Jobs.result(name, "job-1")
    assert {:error, %Error{type: :job_not_done}} = Jobs.delete(name, "job-1")
  end

  test "there may be no best result yet", %{test: name} do
    answering(name, nil)
    assert {:ok, nil} = Jobs.best(name, "job-1")
    assert :ok = Jobs.delete(name, "job-1")
  end

  test "a stream goes on where it was when the connection breaks", %{test: name} do
    controlled(name)
    me = self()

    spawn_link(fn ->
      send(me, {:told, Enum.to_list(Jobs.follow(name, "job-1", after: 1))})
    end)

    {server, envelope, payload} = receive_frame(:call)
    assert {"job.follow", 64} = {envelope.method, envelope.meta["credit"]}
    assert payload == %{"job" => "job-1", "after" => 1}
    item(server, envelope, 0, %{"event" => %{"n" => 2, "type" => "started", "attempt" => 1}})
    item(server, envelope, 1, %{"progress" => %{"done" => 1}})
    Test.exit(server)

    {server, envelope, payload} = receive_frame(:call)
    assert payload == %{"job" => "job-1", "after" => 2}
    item(server, envelope, 0, %{"event" => %{"n" => 3, "type" => "done", "attempt" => 1}})
    Test.send_frame(server, :reply, envelope.id, nil, %{}, @row)

    assert_receive {:told, told}, 5_000

    assert [{:event, %{number: 2}}, {:progress, %{"done" => 1}}, {:event, %{number: 3}}, {:ended, job}] = told
    assert job.state == :done
  end

  defp item(server, envelope, seq, item),
    do: Test.send_frame(server, :item, envelope.id, nil, %{"seq" => seq}, item)

  test "who waits goes on when the server could not answer", %{test: name} do
    tries = :counters.new(1, [])

    handled(name, fn "job.follow", _payload, meta ->
      :counters.add(tries, 1, 1)
      refute is_map_key(meta, "credit")
      if :counters.get(tries, 1) < 3, do: {:fail, Error.new(:store_unavailable, "away")}, else: {:reply, @row}
    end)

    assert {:ok, %Job{state: :done}} = Jobs.await(name, "job-1")
    assert :counters.get(tries, 1) == 3
  end

  test "who waits may have a time of its own", %{test: name} do
    handled(name, fn "job.follow", _payload, %{"deadline_ms" => left} ->
      assert left <= 50
      {:fail, Error.new(:deadline, "late")}
    end)

    assert {:error, %Error{type: :deadline}} = Jobs.await(name, "job-1", timeout: 50)
  end

  test "what will not pass ends a stream", %{test: name} do
    answering(name, Error.new(:unknown_job, "there is no such job"))
    assert_raise Error, ~r/no such job/, fn -> Enum.to_list(Jobs.follow(name, "job-1")) end
    assert {:error, %Error{type: :unknown_job}} = Jobs.await(name, "job-1")
  end
end
