"""What a method keeps is what its checkpoint holds: written, read back, and used to predict."""

import pytest
import torch
from safetensors.torch import load, save
from small import CPU, learned, small_config, small_stream, tensors

from bmc.methods import METHODS
from bmc.methods.base import Method
from bmc.report.finished import read_run
from bmc.runs.identity import effective
from bmc.runs.run import COUNTERS, run

STREAM = small_stream(3)


@pytest.mark.parametrize("name", METHODS.names())
def test_what_is_counted_is_written_read_back_and_predicts_the_same(name):
    config = small_config(name, experts=2)
    method = learned(name, STREAM, config)
    written = load(save({key: t.contiguous() for key, t in method.state().items()}))
    again = METHODS.get(name)(STREAM.dim, STREAM.n_classes, config, CPU)
    again.load_state(written)
    for counter in COUNTERS:
        setattr(again, counter, getattr(method, counter))
    for task in tensors(STREAM):
        assert torch.equal(again.scores(task.test.features), method.scores(task.test.features))
    kept = {
        key: tensor
        for key, tensor in written.items()
        if not key.startswith("net.") and key not in method.uncounted
    }
    if not method.reference:  # these count all training data, which they are given at once
        assert method.memory_bytes() == sum(tensor.nbytes for tensor in kept.values())
    assert again.memory_bytes() == method.memory_bytes()


def test_the_network_and_what_a_method_declares_are_no_memory():
    class Counting(Method):
        name = title = "counting"
        uncounted = frozenset({"steps"})

        def state(self):
            half = torch.zeros(3, dtype=torch.float16)
            return {"net.weights": torch.zeros(99), "steps": torch.zeros(5), "means": half}

    assert Counting(1, 1, small_config("ncm"), CPU).memory_bytes() == 3 * 2


@pytest.mark.parametrize("name", [n for n in METHODS.names() if METHODS.get(n).reads("memory")])
def test_a_memory_given_in_megabytes_holds_as_many_samples_as_fit(name):
    config = effective(name, small_config(name, memory_mb=0.01, draws=1, centre_rank=1), STREAM)
    method = learned(name, STREAM, config)
    kept = {k: t for k, t in method.state().items() if not k.startswith(("net.", "gaussian."))}
    # no samples of a memory
    beside = {"expert_steps", "means", "task_of", "anchors", "reservoir.seen"}
    kept = {k: t for k, t in kept.items() if k not in beside}
    assert 0.5 * 0.01 < 1e-6 * sum(t.nbytes for t in kept.values()) <= 0.01


@pytest.mark.parametrize("name", ["er", "ncm", "bmc", "bmc-analytic", "zero-shot"])
def test_training_data_must_travel_to_methods_that_learn_in_one_place(name, tmp_path):
    run(STREAM, name, small_config(name, experts=2), tmp_path)
    costs = read_run(tmp_path).costs
    rows = sum(len(task.train) for task in STREAM.tasks)
    expected = rows * (2 * STREAM.dim + 4) if name in ("er", "ncm") else 0
    assert costs.central_bytes == expected
    assert costs.distributed_bytes == costs.total_bytes + expected
