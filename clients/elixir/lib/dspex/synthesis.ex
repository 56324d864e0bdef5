defmodule DSPex.Synthesis do
  @moduledoc """
  Rows of a dataset, written by a language model.

      {:ok, job} =
        DSPex.Synthesis.start(MyApp.DSPex, "reviews", "text -> stars: int", 200,
          task: "Rate a review of a hotel from 1 to 5 stars.", examples: "first-reviews", near: 0.9, seed: 7)

      {:ok, %{dataset: reviews, rows: 200}} = DSPex.Synthesis.await(MyApp.DSPex, job)

  It is a job of `DSPex.Jobs`. Rows that do not fit the signature, and such as say the same as others, are
  counted and left out; the others become the next version of the dataset. Whether they are right nobody
  looks. `docs/synthesis.md` has what is behind it.
  """

  alias DSPex.{Dataset, Error, Job, Jobs, Signature}

  @own [:examples, :lm, :max_requests, :near, :parallelism, :rows_per_request, :seed, :shown] ++
         [:task, :temperature, :unique_by]

  @typedoc """
  What came of it: the version that was stored as `dataset`, how many `rows` it has and how many `requests`
  they took, how many were `refused` by reason, and why there are fewer than were wanted: `stopped`, nil
  where there are not.
  """
  @type written :: %{
          dataset: Dataset.t(),
          rows: pos_integer(),
          requests: pos_integer(),
          refused: %{optional(String.t()) => pos_integer()},
          stopped: String.t() | nil
        }

  @doc """
  Has so many rows of a signature written into a dataset; returns the job.

  Options: `task:` what the program does that they are for, by default the signature's instructions;
  `examples:` a `DSPex.Dataset` or an id, rows that show what is wanted; `shown:` how many known rows a
  request shows; `rows_per_request:`, `parallelism:`, `max_requests:`; `unique_by:` fields that no two rows
  have in common, by default all inputs; `near:` from 0.5 to 1, rows so alike count as the same; `lm:`,
  `temperature:`, `seed:`; and those of `DSPex.Jobs.submit/4`, such as `experiment:`, of which `note:` is the dataset's too.
  """
  @spec start(DSPex.t(), Dataset.t() | String.t(), Signature.source(), pos_integer(), keyword()) ::
          DSPex.result(Job.t())
  def start(dspex, dataset, signature, rows, options \\ []) do
    with {:ok, own, options} <- Jobs.split(options, @own),
         {:ok, dataset} <- Dataset.from(dataset),
         {:ok, own} <- Signature.in_request(Map.put(own, "signature", signature)),
         {:ok, own} <- examples(own) do
      request = Map.merge(own, %{"dataset" => dataset.id, "rows" => rows})
      request = if options[:note], do: Map.put(request, "note", options[:note]), else: request
      Jobs.submit(dspex, "synthesize", request, options)
    end
  end

  @doc "The same, or raises `DSPex.Error`."
  @spec start!(DSPex.t(), Dataset.t() | String.t(), Signature.source(), pos_integer(), keyword()) :: Job.t()
  def start!(dspex, dataset, signature, rows, options \\ []),
    do: Error.bang(start(dspex, dataset, signature, rows, options))

  @doc "Waits until they are written. Options: as of `DSPex.Jobs.await/3`."
  @spec await(DSPex.t(), Jobs.job(), keyword()) :: DSPex.result(written())
  def await(dspex, job, options \\ []) do
    with {:ok, _job} <- Jobs.await(dspex, job, options), {:ok, told} <- Jobs.result(dspex, job) do
      {:ok,
       %{
         dataset: Dataset.new(told.result["dataset"], version: told.result["version"]),
         rows: told.result["rows"],
         requests: told.result["requests"],
         refused: told.result["refused"],
         stopped: told.result["stopped"]
       }}
    end
  end

  @doc "The same, or raises `DSPex.Error`."
  @spec await!(DSPex.t(), Jobs.job(), keyword()) :: written()
  def await!(dspex, job, options \\ []), do: Error.bang(await(dspex, job, options))

  defp examples(%{"examples" => given} = own) do
    with {:ok, dataset} <- Dataset.from(given), do: {:ok, %{own | "examples" => Dataset.to_wire(dataset)}}
  end

  defp examples(own), do: {:ok, own}
end
