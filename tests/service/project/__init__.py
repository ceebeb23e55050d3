"""A project tree whose stages do next to nothing: what the service does with jobs is tested without waiting for training."""
