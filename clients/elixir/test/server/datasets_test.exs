defmodule DSPex.StoredDatasetsTest do
  @moduledoc "Datasets with the real server: rows in, rows out, and those that do not fit."
  use ExUnit.Case, async: false

  import DSPex.Servers

  alias DSPex.{Dataset, Datasets, Error}

  @moduletag :server
  @moduletag :capture_log
  @moduletag timeout: 120_000

  setup_all do
    %{dspex: stored(__MODULE__.DSPex, "memory")}
  end

  test "rows come back as they went in, in each version", %{dspex: dspex} do
    rows =
      for n <- 1..2_300,
          do: %{question: "What is #{n}?", answer: "#{n}", cost: DSPex.Decimal.new("0.1"), at: ~D[2026-01-02]}

    first = Datasets.put!(dspex, "qa", rows, inputs: [:question], note: "from a test")
    second = Datasets.append!(dspex, first, [%{question: "One more?", answer: "no"}])
    assert {first.version, second.version} == {1, 2}
    found = Enum.to_list(Datasets.rows(dspex, first))
    assert length(found) == 2_300
    assert %{"answer" => "7", "at" => ~D[2026-01-02]} = Enum.at(found, 6)
    assert dspex |> Datasets.rows("qa") |> Enum.at(-1) == %{"question" => "One more?", "answer" => "no"}
    assert %{rows: 2_301, parent: 1, by: "append", newest: 2} = Datasets.get!(dspex, "qa")
    assert {:error, %Error{type: :version_conflict}} = Datasets.append(dspex, first, [])
  end

  test "a split shares rows out and a sample draws some", %{dspex: dspex} do
    data = Datasets.put!(dspex, "split", for(n <- 1..10, do: %{n: n}), inputs: [:n])
    assert {:ok, %{train: train, dev: dev}} = Datasets.split(dspex, data, [train: 0.7, dev: 0.3], seed: 3)
    numbers = for side <- [train, dev], do: for(row <- Datasets.rows(dspex, side), do: row["n"])
    assert {7, 3} == {length(hd(numbers)), length(List.last(numbers))}
    assert Enum.sort(List.flatten(numbers)) == Enum.to_list(1..10)
    sample = Dataset.sample(data, 4, seed: 1)
    assert [_, _, _, _] = drawn = Enum.to_list(Datasets.rows(dspex, sample))
    assert drawn == Enum.to_list(Datasets.rows(dspex, sample))
  end

  test "a row that does not fit its signature is named", %{dspex: dspex} do
    csv = "question,score\nWhy?,1\nHow?,many\n"

    assert {:error, %Error{type: :invalid_argument} = error} =
             Datasets.put(dspex, "bad", {:csv, csv}, signature: "question -> score: int")

    assert error.details["field"] == "document[1].score"
    assert {:error, %Error{type: :unknown_dataset}} = Datasets.get(dspex, "bad")
    good = {:csv, String.replace(csv, "many", "2")}
    Datasets.put!(dspex, "good", good, signature: "question -> score: int")
    assert [%{"score" => 1}, %{"score" => 2}] = Enum.to_list(Datasets.rows(dspex, "good"))
    assert Datasets.delete!(dspex, "good") == :ok
  end
end
