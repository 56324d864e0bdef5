"""STREAMS: a prediction that its caller sees grow."""
