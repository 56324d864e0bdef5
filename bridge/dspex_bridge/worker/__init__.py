"""What a worker process is: how it starts, speaks with the supervisor, and runs its calls."""
