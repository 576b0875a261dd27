"""BMC with Gaussian replay: what experts send, what is drawn, what is kept."""

from dataclasses import replace
from unittest import mock

import torch
from small import CPU, learned, small_config, small_stream, tensors
from torch.nn import functional

from bmc.methods import METHODS
from bmc.methods.bmc import BatchModelConsolidation
from bmc.methods.bmc_gaussian import GaussianReplay
from bmc.methods.gaussian_message import unpacked_covariance
from bmc.train.memory import Samples
from bmc.train.packed import to_message
from bmc.train.phases import OTHER

STREAM = small_stream(4)


def learned_in_groups(**changes: object) -> GaussianReplay:
    method = learned("bmc-gaussian", STREAM, small_config("bmc-gaussian", experts=2, **changes))
    assert isinstance(method, GaussianReplay)
    return method


def drawn(method: GaussianReplay) -> Samples:
    assert method.memory is not None
    return method._drawn(7, method.memory)


def test_the_centre_keeps_the_mean_of_the_covariances_within_the_classes_of_each_task():
    method = learned_in_groups(rank=0, centre_rank=0)
    expected = torch.zeros(STREAM.dim, STREAM.dim, dtype=torch.float64)
    for task in tensors(STREAM):
        x = functional.normalize(task.train.features.float(), dim=1).double()
        y, within = task.train.labels - task.start, torch.zeros(STREAM.dim, STREAM.dim)
        for c in range(task.n_classes):
            rows = x[y == c]
            within = within + (rows - rows.mean(dim=0)).T @ (rows - rows.mean(dim=0))
        expected += within / (len(x) - task.n_classes) / len(STREAM.tasks)
    kept = unpacked_covariance(method.covariance) / len(STREAM.tasks)
    assert (kept - expected).abs().max() < 2e-3 * expected.abs().max()


def test_draws_have_the_means_of_their_classes_and_their_covariance():
    method = learned_in_groups(draws=2, rank=0, centre_rank=0)
    method.options = replace(method.options, draws=400)
    samples = drawn(method)
    assert torch.equal(samples.labels.bincount(), torch.full((method.seen,), 400))
    assert torch.equal(samples.tasks, method.task_of[samples.labels])
    torch.testing.assert_close(samples.features.float().norm(dim=1), torch.ones(len(samples)),
                               atol=2e-3, rtol=0)  # fmt: skip
    for c in range(method.seen):
        rows = samples.features[samples.labels == c].float()
        mean = functional.normalize(method.means[c].float(), dim=0)
        assert functional.normalize(rows.mean(dim=0), dim=0) @ mean > 0.99


def test_a_draw_carries_the_phi_of_the_base_model():
    method = learned_in_groups()
    samples = drawn(method)
    phi = method.net.phi(method.inputs(samples.features))
    torch.testing.assert_close(samples.phi.float(), phi, atol=2e-2, rtol=2e-3)


def test_draws_differ_between_consolidations_and_repeat_with_the_seed():
    method = learned_in_groups()
    assert method.memory is not None
    first, again, other = (method._drawn(i, method.memory).features for i in (7, 7, 8))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_experts_send_means_and_covariance_beside_their_buffers_as_files_that_are_counted():
    plain = learned("bmc", STREAM, small_config("bmc", experts=2)).communication_bytes
    method, d = learned_in_groups(rank=8), STREAM.dim
    tasks = len(STREAM.tasks)
    tensors_sent = 2 * d * STREAM.n_classes + tasks * (8 * (2 * d + 4) + 4)
    messages = [len(to_message(method._statistics(task))) for task in tensors(STREAM)]
    assert method.communication_bytes - plain == sum(messages)
    assert tensors_sent < sum(messages) < tensors_sent + 400 * tasks  # headers


def test_the_time_of_statistics_counts_for_experts_and_consolidation():
    config = small_config("bmc-gaussian")
    method = METHODS.get("bmc-gaussian")(STREAM.dim, STREAM.n_classes, config, CPU)
    with mock.patch.object(BatchModelConsolidation, "learn"):
        method.learn(tensors(STREAM)[:1])
    assert set(method.watch.seconds) - {OTHER} == {"experts", "consolidation"}


def test_it_goes_on_from_its_state_as_if_it_had_not_stopped():
    whole = learned_in_groups()
    config, tasks = small_config("bmc-gaussian", experts=2), tensors(STREAM)
    first, second = (
        METHODS.get("bmc-gaussian")(STREAM.dim, STREAM.n_classes, config, CPU) for _ in range(2)
    )
    first.learn(tasks[:2])
    second.load_state(first.state())
    second.seen = first.seen
    second.learn(tasks[2:])
    for name, tensor in whole.state().items():
        if name != "expert_steps":
            assert torch.equal(tensor, second.state()[name]), name
