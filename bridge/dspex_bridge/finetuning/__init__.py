"""FINE-TUNING: models made of examples, by providers behind OpenAI's API of it.

- `endpoint` speaks with the provider, `examples` makes its training file.
- `tuning` is one model's making, such that it goes on after any death instead of being paid for twice.
- `local` leaves it to DSPy, on this machine.
- `provider` is how DSPy's own optimizers come by that.
- `kind` is the job.
"""
