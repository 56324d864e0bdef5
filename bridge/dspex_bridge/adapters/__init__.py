"""ADAPTERS: which there are, which one a call takes, and what they say to a language model."""
