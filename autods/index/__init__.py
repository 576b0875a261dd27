"""The sample index: one row per image, with labels and splits."""
