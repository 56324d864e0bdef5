"""LANGUAGE MODELS by name: what is asked of them, what they answer, and what it costs."""
