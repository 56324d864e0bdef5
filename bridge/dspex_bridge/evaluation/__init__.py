"""What a worker does of an evaluation: one row at a time, its prediction and the scores of that."""
