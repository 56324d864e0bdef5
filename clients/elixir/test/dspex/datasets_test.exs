defmodule DSPex.DatasetsTest do
  @moduledoc "Datasets: the frames that go out, and what comes of the answers."
  use ExUnit.Case, async: true

  import DSPex.Asking

  alias DSPex.{Dataset, Datasets, Error, Example, Page}
  alias DSPex.Datasets.Version

  doctest Dataset

  @moduletag :capture_log

  @made %{"dataset" => "qa", "version" => 2}
  @row %{"question" => "Why?", "answer" => "So."}

  test "rows of all kinds go out as maps", %{test: name} do
    answering(name, @made)
    rows = [@row, [question: "Why?", answer: "So."], Example.new(@row, inputs: [:question])]

    assert Datasets.put(name, "qa", rows, inputs: [:question], note: "n") ==
             {:ok, Dataset.new("qa", version: 2)}

    assert {"dataset.put", %{}, payload} = asked()
    assert %{"dataset" => "qa", "input_keys" => ["question"], "note" => "n", "rows" => rows} = payload
    assert rows == [@row, @row, @row]
    refute is_map_key(payload, "upload")
  end

  test "files and loaders go out as they are", %{test: name} do
    answering(name, @made)
    assert {:ok, _} = Datasets.put(name, "qa", {:csv, "a,b\n1,2\n"}, signature: "a -> b")
    assert {"dataset.put", %{}, %{"document" => "a,b\n1,2\n", "format" => "csv"} = payload} = asked()
    assert payload["signature"] == "a -> b"
    assert {:ok, _} = Datasets.append(name, "qa", {:parquet, "PAR1"})
    assert {"dataset.append", %{}, %{"document" => %DSPex.Binary{data: "PAR1"}}} = asked()
    assert {:ok, _} = Datasets.append(name, "qa", {:loader, "Colors", side: :dev, train_seed: 1})
    loader = %{"name" => "Colors", "side" => "dev", "options" => %{"train_seed" => 1}}
    assert {"dataset.append", %{}, %{"loader" => ^loader}} = asked()
  end

  @tag :tmp_dir
  test "a file is read by its ending", %{test: name, tmp_dir: folder} do
    answering(name, @made)
    path = Path.join(folder, "rows.JSONL")
    File.write!(path, ~s({"a": 1}\n))
    assert {:ok, _} = Datasets.append(name, "qa", {:file, path})
    assert {"dataset.append", %{}, %{"format" => "jsonl", "document" => ~s({"a": 1}\n)}} = asked()
    assert mistake(Datasets.append(name, "qa", {:file, "rows.xls"})) == "rows"
    assert mistake(Datasets.append(name, "qa", {:file, Path.join(folder, "none.csv")})) == "rows"
  end

  test "many rows go out in pieces, and the last one makes the version", %{test: name} do
    answering(name, @made)
    rows = Stream.map(1..2_500, &%{n: &1})
    assert {:ok, %Dataset{version: 2}} = Datasets.put(name, "qa", rows, inputs: [:n], write_id: "w")
    pieces = for _ <- 1..3, do: asked_piece()

    assert for({_id, piece} <- pieces, do: {piece["piece"], piece["done"], length(piece["rows"])}) ==
             [{1, false, 1_000}, {2, false, 1_000}, {3, true, 500}]

    assert [upload] = Enum.uniq(for {_id, piece} <- pieces, do: piece["upload"])
    assert for({id, _piece} <- pieces, do: id) == ["#{upload}/1", "#{upload}/2", "w"]
    assert for({_id, piece} <- pieces, do: piece["input_keys"]) == [["n"], nil, nil]

    # Made again it is the very same.
    assert {:ok, _} = Datasets.put(name, "qa", rows, inputs: [:n], write_id: "w")
    assert for(_ <- 1..3, do: asked_piece()) == pieces
  end

  defp asked_piece do
    assert_received {:asked, "dataset.put", %{"write_id" => id}, piece}
    {id, piece}
  end

  test "a piece that is refused is the last one that is sent", %{test: name} do
    refusal = Error.invalid_argument("rows[7].n", "an integer", "x")
    answering(name, refusal)

    assert {:error, %Error{type: :invalid_argument} = error} =
             Datasets.append(name, "qa", Stream.map(1..5_000, &%{n: &1}))

    assert is_binary(error.details["write_id"])
    assert_received {:asked, "dataset.append", _, %{"piece" => 1}}
    refute_received {:asked, _, _, _}
  end

  test "no rows at all are a version too", %{test: name} do
    answering(name, @made)
    assert {:ok, _} = Datasets.put(name, "qa", [], inputs: [:n])
    assert {"dataset.put", %{}, %{"rows" => []}} = asked()
  end

  test "a handle with a version guards a write", %{test: name} do
    answering(name, @made)
    Datasets.append!(name, Dataset.new("qa", version: 1), [@row])
    assert {"dataset.append", %{}, %{"newest" => 1}} = asked()
  end

  test "pages of rows, and all of them", %{test: name} do
    answering(name, fn payload ->
      offset = Map.get(payload, "offset", 0)
      %{"rows" => [%{"n" => offset}], "next" => if(offset < 2, do: offset + 1), "newest" => 5}
    end)

    assert Datasets.page(name, "qa", limit: 1) == {:ok, %Page{entries: [%{"n" => 0}], next: 1}}
    assert asked() == {"dataset.rows", %{}, %{"dataset" => "qa", "limit" => 1}}
    assert Enum.to_list(Datasets.rows(name, "qa", limit: 1)) == [%{"n" => 0}, %{"n" => 1}, %{"n" => 2}]
    assert asked() == {"dataset.get", %{}, %{"dataset" => "qa"}}
    assert asked() == {"dataset.rows", %{}, %{"dataset" => "qa", "version" => 5, "limit" => 1}}
    sample = Dataset.sample(Dataset.new("qa", version: 3), 2, seed: 9)
    assert [_, _, _] = Enum.to_list(Datasets.rows(name, sample))
  end

  test "a split gives a handle for each side", %{test: name} do
    select = fn side ->
      %{"select" => %{"split" => %{"dev" => 0.25, "train" => 0.75}, "side" => side, "seed" => 7}}
    end

    answering(name, Map.put(@made, "sides", %{"train" => select.("train"), "dev" => select.("dev")}))
    assert {:ok, %{train: train, dev: dev}} = Datasets.split(name, "qa", [train: 0.75, dev: 0.25], seed: 7)
    assert {"dataset.split", %{}, %{"dataset" => "qa", "seed" => 7, "split" => %{"dev" => 0.25}}} = asked()
    assert {train.version, train.select["side"], dev.select["side"]} == {2, "train", "dev"}
  end

  test "what is known of versions", %{test: name} do
    row =
      Map.merge(@made, %{
        "rows" => 3,
        "checksum" => "ab",
        "fields" => ["n"],
        "input_keys" => ["n"],
        "by" => "put"
      })

    answering(name, Map.merge(row, %{"datasets" => [row], "versions" => [row], "next" => nil}))
    assert {:ok, %Version{rows: 3, by: "put", input_keys: ["n"]} = version} = Datasets.get(name, "qa")
    assert version.dataset == Dataset.new("qa", version: 2)
    assert {:ok, %Page{entries: [^version]}} = Datasets.list(name, prefix: "q")
    assert {:ok, %Page{entries: [^version]}} = Datasets.versions(name, "qa", before: 9)
    assert Enum.to_list(Datasets.stream(name)) == [version]
    assert Datasets.delete(name, "qa") == :ok
  end

  test "mistakes are told before anything is sent", %{test: name} do
    answering(name, @made)
    assert mistake(Datasets.put(name, "", [])) == "dataset"
    assert mistake(Datasets.put(name, 7, [])) == "dataset"
    assert mistake(Datasets.put(name, "qa", "text")) == "rows"
    assert mistake(Datasets.put(name, "qa", {:xml, "text"})) == "rows"
    assert mistake(Datasets.put(name, "qa", [1])) == "rows[0]"
    assert mistake(Datasets.put(name, "qa", [@row], inputs: :question)) == "inputs"
    assert mistake(Datasets.put(name, "qa", [@row], input: [:question])) == "input"
    assert mistake(Datasets.page(name, "qa", limit: 0)) == "limit"
    assert mistake(Datasets.page(name, "qa", offset: -1)) == "offset"
    assert mistake(Datasets.split(name, "qa", [])) == "split"
    assert mistake(Datasets.split(name, "qa", train: "half")) == "split"
    assert mistake(Datasets.get(name, %Dataset{id: "qa", version: 0})) == "version"
    assert_raise Error, fn -> Datasets.get!(name, "") end
  end
end
