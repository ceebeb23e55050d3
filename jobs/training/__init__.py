"""What the pretraining and the fine-tuning trainings share."""
