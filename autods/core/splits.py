"""The splits of a dataset, in the order in which they are numbered everywhere."""

SPLITS = ("train", "dev", "test")  # dev: held out of train; test: as published
