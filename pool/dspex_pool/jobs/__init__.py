"""JOBS: work of hours, kept in the store, that any server of that store goes on with.

A job is a record with a lease. Who has the lease runs it, in a worker process of its own, and what
that says is committed with the lease's epoch, so that a server which was stopped and wakes up writes
nothing. All that a job must not ask for twice is in its journal of answers.

- `records` is what the store keeps; `steps` says what follows from what, without I/O.
- `operations` are the methods with their parameters, `methods` answers them, `refusals` are the errors;
  `needs` looks whether what a request names is there.
- `shelf` submits, reads and deletes; `answers` says how clients are told.
- `keeping` commits what happens to one job, as its owner; `heartbeat` keeps it owned.
- `attempt` is one worker's go at a job, `process` what is different about that worker; `asking` answers
  what it asks of the supervisor, `host_calls` passes on what it asks of the host.
- `running` is one job that runs here, from its first attempt here to its end; `runner` takes jobs up;
  `house` is what they all share.
- `tally` counts what comes of jobs here.
- `news` is what the parts of one server tell each other; `following` streams events to clients.
"""
