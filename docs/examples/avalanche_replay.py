"""Two stock strategies of Avalanche on a stream: Replay and StreamingLDA."""

import torch
from avalanche.evaluation.metrics import accuracy_metrics
from avalanche.training import Replay, StreamingLDA
from avalanche.training.plugins import EvaluationPlugin
from torch import nn

import autods
from autods.interop.avalanche import benchmark

torch.manual_seed(0)
stream = autods.synthetic_stream(tasks=5, classes=700, dim=64)
bench = benchmark(stream)  # scenario="task-il" would add task labels
options = {"train_mb_size": 64, "eval_mb_size": 512}


def scores() -> EvaluationPlugin:
    """Measure accuracy over all test samples, without a log."""
    return EvaluationPlugin(accuracy_metrics(stream=True), loggers=[])


net = nn.Sequential(nn.Linear(stream.dim, 256), nn.ReLU(), nn.Linear(256, stream.n_classes))
replay = Replay(
    model=net, optimizer=torch.optim.AdamW(net.parameters(), lr=0.02),
    criterion=nn.CrossEntropyLoss(), mem_size=200, train_epochs=5, evaluator=scores(), **options,
)  # fmt: skip
slda = StreamingLDA(
    slda_model=nn.Identity(), criterion=nn.CrossEntropyLoss(), input_size=stream.dim,
    num_classes=stream.n_classes, evaluator=scores(), **options,
)  # fmt: skip
for strategy in (replay, slda):
    for experience in bench.train_stream:
        strategy.train(experience)
    (accuracy,) = strategy.eval(bench.test_stream).values()
    print(f"{type(strategy).__name__}: {accuracy:.0%} of all test samples, {stream.scenario}")
