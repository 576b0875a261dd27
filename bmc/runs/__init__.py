"""One run: its folder, checkpoints, evaluation, metrics and trackers."""
