"""SIGNATURES: from strings and descriptions to classes of DSPy, and values checked against them."""
