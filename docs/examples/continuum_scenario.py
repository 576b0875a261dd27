"""A stream as a scenario of Continuum."""

from torch.utils.data import DataLoader

import autods
from autods.interop.continuum import scenario

stream = autods.synthetic_stream(tasks=5, classes=700, dim=64, order=7)
train = scenario(stream, "train")

print(f"{train.nb_tasks} tasks, {train.nb_classes} classes, {train.nb_samples} samples")
for index, taskset in enumerate(train):
    x, y, t = next(iter(DataLoader(taskset, batch_size=32)))
    classes = taskset.get_classes()
    names = f"'{train.class_names[classes[0]]}' to '{train.class_names[classes[-1]]}'"
    print(f"task {index}: {len(taskset)} samples, {names}, batch {tuple(x.shape)}, t = {t[0]}")
