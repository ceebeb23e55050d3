"""The commands, a file each for those that belong together. Heavy imports stand inside the functions: `--help` must be quick."""
