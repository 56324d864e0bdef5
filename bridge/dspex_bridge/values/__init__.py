"""VALUES of the wire and objects of DSPy, both ways."""
