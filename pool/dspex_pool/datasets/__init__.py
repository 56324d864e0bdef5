"""DATASETS: rows of fields, in numbered versions that never change, over whatever store there is.

    put, append ──► a worker reads and checks the rows, and cuts them into parts
                ──► steps (pure) ──► writer ──► store         parts, version and head in one commit
    rows        ──► selections (pure): which ──► reader ──► store         the parts that have them

`operations` has the methods with their parameters, and `methods` what each does; `records` says
what is kept: a head, versions, uploads that are not done, and journals of parts. What is in a row
is a worker's business and opaque here. `refusals` has the words for what cannot be.
"""
