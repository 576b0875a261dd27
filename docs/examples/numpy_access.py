"""A stream's features and labels as NumPy arrays."""

import numpy as np

import autods
from autods.interop.arrays import arrays, class_names

stream = autods.synthetic_stream(tasks=5, classes=700, dim=64)

for task in stream.tasks:
    x, y = task.train.features, task.train.labels  # float16 [n, d], int64 [n]
    first, last = task.class_offset, task.class_offset + len(task.class_names)
    print(f"{task.index} {task.name}: {x.shape}, classes {first} to {last - 1}")

train, test = arrays(stream, "train", np.float32), arrays(stream, "test", np.float32)
means = np.stack([train.features[train.labels == c].mean(axis=0) for c in range(stream.n_classes)])
means /= np.linalg.norm(means, axis=1, keepdims=True)
found = (test.features @ means.T).argmax(axis=1)
print(f"{stream.n_classes} classes, the first is '{class_names(stream)[0]}'")
print(f"nearest class mean, no learning over time: {(found == test.labels).mean():.0%}")
