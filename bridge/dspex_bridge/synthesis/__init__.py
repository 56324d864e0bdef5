"""SYNTHESIS: rows of a dataset written by a language model, of a task's description and a few examples.

- `writer` is the program that asks for rows, `angles` what makes its requests differ.
- `distinct` knows which rows there are already, in other words too.
- `sifting` takes the rows of an answer that fit and are new, and counts the others.
- `kind` is the job.
"""
