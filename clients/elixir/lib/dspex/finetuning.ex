defmodule DSPex.Finetuning do
  @moduledoc """
  Models made of a dataset by a provider with OpenAI's API of fine-tuning.

      {:ok, job} = DSPex.Finetuning.start(MyApp.DSPex, "small", "doubles", signature: "number: int -> double: int")
      {:ok, tuned} = DSPex.Finetuning.await(MyApp.DSPex, job)
      DSPex.predict(MyApp.DSPex, program, %{number: 7}, lm: tuned.lm)

  It is a job of `DSPex.Jobs`: the provider is asked for it once, whoever dies meanwhile, its events are
  the job's, and cancelling the job cancels the provider's. `docs/finetuning.md` has what is behind it.
  """

  alias DSPex.{Dataset, Error, Job, Jobs, Name, Signature}

  @own [:batch_size, :epochs, :learning_rate_multiplier, :options, :seed, :signature, :suffix]

  @typedoc """
  What came of it: `lm`, by which every function takes the model, such as `"small@ft:…"`; `model`, as the
  provider calls it; `provider_job`; how many `examples` it had, and the `trained_tokens`, where that is told.
  """
  @type tuned :: %{
          lm: String.t(),
          model: String.t(),
          provider_job: String.t(),
          examples: non_neg_integer(),
          trained_tokens: non_neg_integer() | nil
        }

  @doc """
  Has a model made of the one that is configured as `lm`; returns the job.

  `dataset` is a `DSPex.Dataset` or an id. Options:

  * `signature:` rows are its fields, and an example is what a `Predict` of it would ask, with the row's
    outputs as the answer; without one, rows are conversations: maps with `messages` of `role` and `content`
  * `epochs:`, `batch_size:`, `learning_rate_multiplier:`, `suffix:`, `seed:` as the provider has them;
    `options:` further parameters of its job, a map
  * those of `DSPex.Jobs.submit/4`, such as `key:`, `deadline:` and `experiment:`
  """
  @spec start(DSPex.t(), String.t() | atom(), Dataset.t() | String.t(), keyword()) :: DSPex.result(Job.t())
  def start(dspex, lm, dataset, options \\ []) do
    with {:ok, own, options} <- Jobs.split(options, @own),
         {:ok, lm} <- name(lm),
         {:ok, dataset} <- Dataset.from(dataset),
         {:ok, own} <- Signature.in_request(own) do
      request = dataset |> Dataset.to_wire() |> Map.merge(own) |> Map.put("lm", lm)
      Jobs.submit(dspex, "finetune", request, options)
    end
  end

  @doc "The same, or raises `DSPex.Error`."
  @spec start!(DSPex.t(), String.t() | atom(), Dataset.t() | String.t(), keyword()) :: Job.t()
  def start!(dspex, lm, dataset, options \\ []), do: Error.bang(start(dspex, lm, dataset, options))

  @doc "Waits until the model is made. Options: as of `DSPex.Jobs.await/3`."
  @spec await(DSPex.t(), Jobs.job(), keyword()) :: DSPex.result(tuned())
  def await(dspex, job, options \\ []) do
    with {:ok, _job} <- Jobs.await(dspex, job, options), {:ok, told} <- Jobs.result(dspex, job) do
      {:ok,
       %{
         lm: told.result["lm"],
         model: told.result["model"],
         provider_job: told.result["provider_job"],
         examples: told.result["examples"],
         trained_tokens: told.result["trained_tokens"]
       }}
    end
  end

  @doc "The same, or raises `DSPex.Error`."
  @spec await!(DSPex.t(), Jobs.job(), keyword()) :: tuned()
  def await!(dspex, job, options \\ []), do: Error.bang(await(dspex, job, options))

  defp name(lm) do
    if Name.id?(to_string(lm)),
      do: {:ok, to_string(lm)},
      else: {:error, Error.invalid_argument("lm", "the name of a language model", lm)}
  end
end
