defmodule DSPex.MadeByJobsTest do
  @moduledoc "Fine-tuning and synthesis: what goes out, what comes of the answers, and what is refused here."
  use ExUnit.Case, async: true

  import DSPex.Asking

  alias DSPex.{Dataset, Finetuning, Job, Synthesis}

  @moduletag :capture_log

  @begun %{"job" => "j1", "created" => true}

  test "a fine-tune is a job over the rows of a dataset", %{test: name} do
    answering(name, @begun)
    dataset = Dataset.new("doubles", version: 3)
    options = [signature: "number: int -> double: int", epochs: 2, suffix: :d, key: "k", experiment: "e"]
    assert {:ok, %Job{id: "j1"}} = Finetuning.start(name, :small, dataset, options)

    assert {"job.submit", %{},
            %{"kind" => "finetune", "key" => "k", "experiment" => "e", "request" => request}} = asked()

    assert request == %{
             "lm" => "small",
             "dataset" => "doubles",
             "version" => 3,
             "signature" => "number: int -> double: int",
             "epochs" => 2,
             "suffix" => "d"
           }
  end

  test "rows to be written are a job too", %{test: name} do
    answering(name, @begun)

    options = [
      task: "Rate.",
      examples: Dataset.new("some", version: 2),
      near: 0.9,
      unique_by: [:text],
      lm: :large,
      experiment: "e",
      note: "n"
    ]

    assert {:ok, %Job{}} = Synthesis.start(name, "reviews", "text -> stars: int", 200, options)

    assert {"job.submit", %{},
            %{"kind" => "synthesize", "note" => "n", "experiment" => "e", "request" => request}} = asked()

    assert request == %{
             "dataset" => "reviews",
             "rows" => 200,
             "signature" => "text -> stars: int",
             "task" => "Rate.",
             "examples" => %{"dataset" => "some", "version" => 2},
             "near" => 0.9,
             "unique_by" => ["text"],
             "lm" => "large",
             "note" => "n"
           }
  end

  test "what cannot be is refused before anything is sent", %{test: name} do
    answering(name, @begun)
    assert mistake(Finetuning.start(name, "", "d")) == "lm"
    assert mistake(Finetuning.start(name, :small, 3)) == "dataset"
    assert mistake(Finetuning.start(name, :small, "d", colour: 1)) == "colour"
    assert mistake(Finetuning.start(name, :small, "d", signature: 3)) == "signature"
    assert mistake(Synthesis.start(name, "d", "a -> b", 3, examples: 4)) == "dataset"
    assert mistake(Synthesis.start(name, "d", "a -> b", 3, [1])) == "options"
  end
end
