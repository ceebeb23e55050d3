"""The parts of the sweep job: its trials, their runs in MLflow, the two phases, what is made of them."""
