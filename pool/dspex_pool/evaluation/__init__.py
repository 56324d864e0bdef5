"""EVALUATIONS: a program on the rows of a dataset, each prediction scored; kept, queried and compared.

    evaluation.run ──► request, planner ──► run (a `batch_plan.Plan`): rows out, outcomes in
                                             └─► writer: what has come, in one commit ──► store
    evaluation.get, rows, compare, failures ──► methods ──► reader; comparison, clusters (pure)

`operations` has the methods with their parameters; `records` says what is kept: a head, a request and
two journals, one of whole rows and one of a few facts about each, by which rows are found and counted.
`figures` adds up, `statistics` says how sure that is, and `refusals` has the words for what cannot be.
"""
