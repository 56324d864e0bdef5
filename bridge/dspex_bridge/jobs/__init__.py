"""JOBS in a worker: work of hours that goes on after any death, since what was paid for is replayed.

A worker that runs a job runs nothing else, and gets one call, `job.run`. All that is not determined by
the job's request, the answers of language models and of the host's functions, is asked for through
`answers`, which has the supervisor keep each before it is used. After a death the same work begins anew
and finds those answers there; only what is new is asked again.

- `kind` is what a kind of job is, and `kinds` the table of them.
- `budget` says whether another request may be paid for.
- `answers` gives back what is kept, and has kept what is new; `noting` sends it, many at a time.
- `asking` answers language models' requests and calls of the host's functions out of `answers`.
- `job` is what the work itself uses: answers, rows, programs, events, the best result so far, progress.
- `operation` is `job.run`, and `job.check`, which refuses a request before it becomes a job.
"""
