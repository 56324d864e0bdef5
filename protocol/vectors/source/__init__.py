"""The source of the golden vectors, one module for each file or two."""
