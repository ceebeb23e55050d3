"""Stand-ins for the stage jobs, run by a real Ray as `python -m jobs.<stage>`."""
