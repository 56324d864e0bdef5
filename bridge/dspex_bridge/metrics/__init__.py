"""Metrics: how good a prediction is for an example, told by a spec as programs are.

- `rows` is what a metric looks at, and `scores` what it says.
- `metric` is what one is once it is built: one that measures, one that asks, or one made of others.
- `compared` is what metrics of one field have in common; `texts`, `numbers`, `lists` and `json_equality` are
  those, `equality` is what the same means.
- `composed` are those made of others, `judge` asks a language model, and `host_metric` the host.
- `dspy_metrics` finds those of the installed DSPy.
- `classes` is a row of the catalog; `catalog` is all rows, and builds a metric of its spec.
- `scoring` runs one over a row, and says which part of it failed; `operation` is `metric.score`, and
  `called` the function that DSPy's optimizers and its `Evaluate` call.
"""
