"""EXPERIMENTS: runs with their parameters, metrics over time, artifacts and lineage, side by side.

    begin, log, attach, end ──► steps (pure) ──► shelf ──► store       a run's record and its journals
    runs, points, artifact  ──► chronicle ──► shelf ──► store

Runs of jobs and evaluations are brought up to date by `chronicle`: `job_runs` and `evaluation_runs` say
what those tell (pure), and `requests` what a run says of what was asked for. `operations` has the
methods with their parameters, and `methods` what each does; `records` says what is kept. `refusals` has
the words for what cannot be.
"""
