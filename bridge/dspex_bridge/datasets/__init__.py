"""DATASETS in a worker: rows read from files and loaders, checked, and cut into parts for the store."""
