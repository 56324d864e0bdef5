"""OPTIMIZERS: DSPy's own, by name: found by introspection, described, and run as jobs.

- `options.py`: arguments of constructors and of `compile` that may come from the wire;
- `classes.py`: which optimizers there are, what each takes, and why some cannot run here;
- `catalog.py`: optimizers of specs, checked, and described for `system.describe`.
"""
