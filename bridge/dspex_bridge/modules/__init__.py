"""MODULES: which there are, how each is built of a spec, and what stands in their options."""
