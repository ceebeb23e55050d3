"""The parts of the pretraining job: its step, its loop, its checkpoints, its validation and its pictures."""
