"""The control plane: command line, ledger, submitter. Nothing here imports torch, or any part of `jobs` but its config."""
