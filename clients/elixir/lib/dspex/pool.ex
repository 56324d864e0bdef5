defmodule DSPex.Pool do
  @moduledoc """
  The workers behind an instance: sharing them, who gets how much, and what happens when
  they are replaced.

  ## One pool for several BEAM nodes

  An instance starts a server of its own unless it is told where one listens. So a pool
  that several nodes or programs on one machine share is started once, beside them:

      $ dspex serve --listen unix:/run/dspex/pool.sock --workers 8

  and each of them has, instead of a `:command`, its address:

      {DSPex, name: MyApp.DSPex, address: "unix:/run/dspex/pool.sock", tenant: "web"}

  Only the user who started the server may connect. Models and secrets are the pool's: who
  joins may use what is there and add to it, and is refused (`:invalid_argument`, with the
  name) where another has given a name another content; they go with the last client that
  named them. Functions are each client's own and run where the call was made.

  A client that dies ends its own calls and nobody else's. When the server
  ends or cannot be reached, open calls fail once with `:connection_lost`, and new ones
  wait within their own time until one listens there again.

  `DSPex.stop/2` ends this client's connection; the server goes on. `DSPex.drain/2` ends the server.

  ## Tenants, lanes and priorities

  * A **tenant** is on whose behalf a call is made: `tenant:` of the call, else of the
    instance, else each connection is a tenant of its own. While several have calls
    waiting, workers are shared by weight: `tenants: %{"web" => 3, "reports" => 1}` of the
    instance; a tenant that nobody named has weight 1. Alone, each gets everything.
  * A **lane** says what is waiting for the answer. `:interactive` (unless told otherwise):
    a person. `:batch`: nobody in particular; batch calls take what is idle, and keep a
    share of it when interactive ones come. `:control`: an operator; such calls never wait,
    and only methods that do no work of a program may be made so, such as `DSPex.echo/3`.
  * A **priority** from 0 to 9, 5 unless told otherwise, orders a tenant's own calls in a lane.

        DSPex.predict(dspex, program, inputs, tenant: "acme", lane: :batch, priority: 2)

  ## When the pool has too much, and when workers end

  | what happens | what a call gets | what to do |
  |---|---|---|
  | the queue is full, or an interactive call has waited too long | `:overloaded`, with `retry_after_ms` | come back after that time, not sooner; use `lane: :batch` for what may wait |
  | a worker is recycled: calls, age, memory, `DSPex.recycle/3` | nothing: its calls end there, new ones go to its successor | |
  | a worker dies; the call had not begun, or is free of outside effects | nothing but time: it is repeated, `meta["attempt"]` counts | |
  | a worker dies; the call had sent tokens or called a function | `:worker_died`, `maybe_executed?: true` | ask whether it took effect before repeating it |
  | a worker dies, and so many did that repeating is not worth it | `:worker_died`, `details["budget"]` is `"spent"` | it may be made again |
  | workers died while they ran this very call | `:poisoned`, and so is each equal call for ten minutes, unless somebody had killed the workers | see `DSPex.quarantine/2`; `DSPex.release/3` once the cause is gone |
  | the server is about to end: `DSPex.drain/2` | an open call its answer; a new one waits for the next server, or gets `:draining` | |

  `retryable?` of a `DSPex.Error` says whether making the same call again makes sense.

  ## Events

  With `notes: [:event]` the server tells what its pool does. Each comes as the telemetry
  event `[:dspex, :pool, :event]`, with `dspex` and the strings that the server sent as metadata:

  | `"event"` | further keys |
  |---|---|
  | `"worker_ready"` | `"worker"`: its number, `"pid"` |
  | `"worker_retiring"` | `"worker"`, `"reason"`: `"calls"`, `"age"`, `"memory"` or `"asked"`; it goes when its successor is ready |
  | `"worker_returns"` | `"worker"`: its successor died at once; it serves again until the next one is ready |
  | `"worker_recycled"` | `"worker"`, `"pid"`, `"reason"`, as above or `"scaled_down"`: it has gone |
  | `"worker_died"` | `"worker"`, `"pid"`, `"reason"`: how |
  | `"worker_bloated"` | `"worker"`, `"own_bytes"`: it was killed in the middle of its calls |
  | `"worker_boot_failed"` | `"reason"`, `"in_a_row"` |
  | `"scaled"` | `"workers_before"`, `"workers_wanted"` |
  | `"quarantined"` | `"fingerprint"` of the call that is refused from now on, `"method"`, `"reason"` |
  | `"draining"` | |

  A server of another version may send others and further keys.
  """

  @typedoc """
  A snapshot of a server, as maps with string keys; `DSPex.info/2` returns it.

  * `"server"`, `"instance"`, `"pid"`, `"uptime_s"`, `"draining"`
  * `"workers"`: a map for each, with `"worker"`, `"slot"`, `"pid"`, `"state"`, `"calls"` (open
    now), `"served"`, `"age_s"`, `"memory_bytes"`, `"own_bytes"` (over what it had when it was
    ready), `"programs"`, `"program_bytes"`, `"retiring"` (why, or nil)
  * `"scale"`: `"min"`, `"max"`, `"target"`, `"ready"`, `"starting"`
  * `"lanes"`: for each lane `"running"`, `"waiting"`, `"oldest_wait_ms"`
  * `"tenants"`: maps of `"tenant"`, `"weight"`, `"running"`, `"waiting"`; the 50 busiest
  * `"clients"`: maps of `"client"`, `"name"`, `"tenant"`, `"transport"`, `"peer_pid"`, `"open_calls"`
  * `"latencies"`: of `"all"` and `"queue"` the last half to whole minute's `"count"`, `"p50_ms"`,
    `"p90_ms"`, `"p99_ms"`, `"max_ms"`
  * `"jobs"`: a map for each that runs there, with `"job"`, `"kind"`, `"state"`, `"attempt"`, `"elapsed_s"`,
    `"progress"`, `"best_score"`, `"spent"`; `"job_counts"`: `"open"` in the store, and since the start
    `"attempts"`, `"died"`, `"done"`, `"failed"`, `"cancelled"`, `"answers_kept"`, `"answers_replayed"`, `"lm_calls"`
  * `"clerk"`: of the process that reads long evaluations and makes reports, `"pid"`, `"calls"`,
    `"memory_bytes"`; nil while there is none
  * `"recycles"`: how many by reason; `"errors"`: how many by code; and other counters
  """
  @type info :: %{optional(String.t()) => term()}

  @typedoc """
  What is kept of a call that killed workers: `"fingerprint"`, `"method"`, the sizes and
  types of its payload and how the workers ended, but no text and no numbers of its caller.
  """
  @type repro :: %{optional(String.t()) => term()}
end
