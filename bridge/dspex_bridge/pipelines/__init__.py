"""PIPELINES: modules whose fields feed one another, as one module."""
