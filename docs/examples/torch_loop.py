"""A training loop of plain PyTorch over the tasks of a stream."""

import torch
from torch import nn

import autods
from autods.interop.torch_data import loader, task_datasets

torch.manual_seed(0)
stream = autods.synthetic_stream(tasks=5, classes=700, dim=64)
net = nn.Sequential(nn.Linear(stream.dim, 256), nn.ReLU(), nn.Linear(256, stream.n_classes))
optimizer = torch.optim.AdamW(net.parameters(), lr=0.005)

train, test = task_datasets(stream, "train"), task_datasets(stream, "test")
for dataset in train:
    batches = loader(dataset, batch_size=64, seed=0)  # each epoch in another order
    for _ in range(20):
        for x, y in batches:  # float32 [64, d], int64 [64]
            optimizer.zero_grad()
            nn.functional.cross_entropy(net(10 * x), y).backward()
            optimizer.step()

with torch.no_grad():
    for task, dataset in zip(stream.tasks, test, strict=True):
        x, y = dataset[:]  # a slice is one batch
        right = (net(10 * x).argmax(dim=1) == y).float().mean()
        print(f"{task.name}: {right:.0%}")
print("fine-tuning forgets all but the last task")
