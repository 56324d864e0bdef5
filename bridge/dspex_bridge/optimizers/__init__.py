"""OPTIMIZERS: DSPy's own, by name: found by introspection, described, and run as jobs.

- `options.py`: arguments of constructors and of `compile` that may come from the wire;
- `classes.py`: which optimizers there are, what each takes, and why some cannot run here;
- `catalog.py`: optimizers of specs, checked, and made;
- `request.py`: the request of a job of the kind `optimize`, and its rows;
- `kind.py`: the kind: what a request names is brought together, run, and what came of it told;
- `running.py`: one run, in a thread;
- `reshaping.py`: programs that a result becomes where it is no other state of the one before;
- `waiting.py`: until the language models are there that a request names;
- `watching.py`: what an optimizer does, as DSPy tells it; `telling.py`: as a job's events and figures;
- `measuring.py`: the metric's calls and what goes wrong, counted;
- `totals.py`: how many trials there will be;
- `taming.py`: what of DSPy is another way meanwhile.
"""
