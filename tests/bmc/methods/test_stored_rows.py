"""What is learned and measured does not depend on where feature rows lie, nor on threads."""

from types import SimpleNamespace

import pytest
import torch
from small import CPU, small_config, stored_stream

from bmc.engines import base_phi
from bmc.engines.local import train_experts
from bmc.methods import METHODS
from bmc.runs import evaluate as runs_evaluate
from bmc.train import data
from bmc.train.data import to_tensors
from bmc.train.rows import StoredRows


@pytest.fixture(scope="module")
def stream(tmp_path_factory):
    return stored_stream(tmp_path_factory.mktemp("root"))


@pytest.mark.parametrize(
    ("name", "changes"), [*((name, {}) for name in METHODS.names()), ("bmc", {"expert_rows": 40})]
)
def test_a_method_learns_and_scores_the_same_bits_from_files_in_threads(
    name, changes, stream, monkeypatch
):
    monkeypatch.setattr(runs_evaluate, "CHUNK", {"cpu": 16})
    monkeypatch.setattr(runs_evaluate, "usable_cores", lambda: 3)
    config = small_config(name, **changes)
    if METHODS.get(name).unfit(stream, config):
        pytest.skip("the method cannot learn this stream")
    results = []
    for held in (data.HELD, 0):
        monkeypatch.setattr(data, "HELD", held)
        tasks = to_tensors(stream, CPU)
        assert isinstance(tasks[0].train.features, StoredRows) == (held == 0)
        method = METHODS.get(name)(stream.dim, stream.n_classes, config, CPU)
        first = 0
        for stop in method.group_ends(len(tasks)):
            method.learn(tasks[first:stop])
            first = stop
        state = method.state()
        method.engine = SimpleNamespace(workers=3 if held == 0 else 1)
        results.append((state, runs_evaluate.evaluate(method, tasks)))
    (one, row), (other, again) = results
    assert one.keys() == other.keys()
    for key in one:
        assert torch.equal(one[key], other[key]), key
    assert row.answers.keys() == again.answers.keys()
    for task in row.answers:
        assert torch.equal(row.answers[task], again.answers[task])
        assert torch.equal(row.right[task], again.right[task])


@pytest.mark.parametrize("kind", ["norm", "squared"])
def test_experts_do_not_depend_on_which_of_them_hold_the_phi_of_the_base_model(
    kind, stream, monkeypatch
):
    tasks = to_tensors(stream, CPU)
    config = small_config("bmc", feature_loss=kind)
    method = METHODS.get("bmc")(stream.dim, stream.n_classes, config, CPU)
    config = method.config
    whole = train_experts(method.net, tasks, config)[0]
    width = method.net.phi_widths[-1] if kind == "squared" else sum(method.net.phi_widths)
    sizes = sorted(2 * len(task.train) * width for task in tasks)
    for limit in (0, sizes[1]):  # none is held, the smaller ones are
        monkeypatch.setattr(base_phi, "HELD", limit)
        together = train_experts(method.net, tasks, config)[0]
        alone = train_experts(method.net, tasks, config, stack=1)[0]
        for first, second, held in zip(together, alone, whole, strict=True):
            assert torch.equal(first.phi, second.phi)
            # rounded to float16, phi computed in other blocks differs at most in its last bits
            assert (first.phi.float() - held.phi.float()).abs().max() < 0.05
