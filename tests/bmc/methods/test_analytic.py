"""BMC-Analytic against its own equations."""

import pytest
import torch
from small import CPU, learned, small_config, small_stream, tensors
from torch.nn import functional

from bmc.methods import METHODS
from bmc.methods.analytic import Message, Sketch, expected_means

STREAM = small_stream()
D, C = STREAM.dim, STREAM.n_classes
NOTHING = torch.zeros(1)


def rows_of(n: int, d: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(n, d, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def balanced_covariance() -> torch.Tensor:
    """S of the whole stream by its definition, a class at a time."""
    total = torch.zeros(D, D, dtype=torch.float64)
    for task in tensors(STREAM):
        for c in range(task.start, task.stop):
            x = task.train.features[task.train.labels == c].double()
            total += torch.cov(x.T)  # divided by n - 1
    return total / C


@pytest.mark.parametrize("n", [9, 40])  # fewer and more rows than dimensions
def test_a_sketch_holds_the_largest_directions_and_the_trace_of_the_rest(n):
    rows = rows_of(n, 12)
    scatter = rows.T @ rows
    sketch = Sketch.of(iter(rows.split(5)), n, 4, NOTHING + 2)
    values, vectors = torch.linalg.eigh(scatter)
    largest = vectors[:, -4:] * values[-4:] @ vectors[:, -4:].T
    roots = sketch.roots()
    # float16 vectors: eleven bits
    torch.testing.assert_close(roots.T @ roots, largest, rtol=0, atol=2e-3 * values[-1].item())
    assert sketch.rest.item() == pytest.approx(2 + values[:-4].sum().item(), rel=1e-5)


@pytest.mark.parametrize("rank", [1, 8, 64])
def test_the_covariance_of_sketches_has_the_trace_of_the_whole_whatever_was_cut(rank):
    config = small_config("bmc-analytic", sketch=rank, centre_sketch=rank)
    method = learned("bmc-analytic", STREAM, config)
    trace = method.sketch.covariance(C, 0.1).trace().item()
    assert trace == pytest.approx(balanced_covariance().trace().item(), rel=2e-3)
    assert len(method.sketch.values) <= rank


def test_with_whole_sketches_the_head_is_the_discriminant_of_its_equations():
    config = small_config("bmc-analytic", sketch=D, centre_sketch=D, shrinkage=0.3)
    method = learned("bmc-analytic", STREAM, config)
    S = balanced_covariance()
    S = 0.7 * S + 0.3 * S.diagonal().mean() * torch.eye(D, dtype=torch.float64)
    data = [task.train for task in tensors(STREAM)]
    x = torch.cat([part.features for part in data]).double()
    members = functional.one_hot(torch.cat([part.labels for part in data]), C).double()
    counts = members.sum(dim=0)
    means = members.T @ x / counts[:, None]
    m = means.mean(dim=0)
    # between classes, less what S / n_c puts there; negative directions taken out where S is I
    values, vectors = torch.linalg.eigh(S)
    white = vectors / values.sqrt() @ vectors.T
    B = torch.cov((means @ white).T) - (1 / counts).mean() * torch.eye(D, dtype=torch.float64)
    psi, axes = torch.linalg.eigh(B)
    B = axes * psi.clamp(min=0) @ axes.T
    eye = torch.eye(D, dtype=torch.float64)
    mu = torch.stack([  # the posterior mean as the text books write it
        B @ torch.linalg.solve(B + eye / n, (own - m) @ white)
        for own, n in zip(means, counts, strict=True)
    ])  # fmt: skip
    test = torch.cat([task.test.features for task in tensors(STREAM)])
    expected = (test.double() - m) @ white @ mu.T - 0.5 * mu.square().sum(dim=1)
    scores = method.scores(test)
    # float16 means and directions against float64 ones
    assert (scores.argmax(dim=1) == expected.argmax(dim=1)).double().mean() > 0.98
    torch.testing.assert_close(scores, expected.float(), rtol=0.02, atol=0.02 * expected.std())


def test_a_mean_of_many_samples_is_trusted_and_one_of_few_is_drawn_to_the_rest():
    means = torch.tensor([[3.0, 0.1], [-3.0, -0.1]], dtype=torch.float64)
    many = expected_means(means, torch.tensor([10_000, 10_000]))
    few = expected_means(means, torch.tensor([10_000, 1]))
    torch.testing.assert_close(many, means, rtol=1e-3, atol=1e-3)
    # psi = 2 * 9.01 - (1 + 1e-4) / 2 = 17.52 along the one axis there is
    assert (few[1] / means[1]).tolist() == pytest.approx([17.52 / 18.52] * 2, rel=1e-4)


def test_means_that_differ_by_chance_alone_are_drawn_together():
    means = 0.5 * rows_of(40, 6)  # of 4 samples each with covariance 1
    means -= means.mean(dim=0)
    drawn = expected_means(means, torch.full((40,), 4))
    assert drawn.norm() < 0.35 * means.norm()


def test_experts_do_not_depend_on_each_other_and_tasks_may_come_in_any_order():
    config = small_config("bmc-analytic", sketch=D, centre_sketch=D)
    forth, back = (METHODS.get("bmc-analytic")(D, C, config, CPU) for _ in range(2))
    tasks = tensors(STREAM)
    forth.learn(tasks)
    for task in reversed(tasks):
        back.learn([task])
        back.seen = C  # the classes of later tasks came first
    assert forth.communication_bytes == back.communication_bytes
    assert torch.equal(forth.means, back.means)
    covariances = [method.sketch.covariance(C, 0.1) for method in (forth, back)]
    torch.testing.assert_close(*covariances, rtol=0, atol=2e-3 * covariances[0].max().item())


def test_the_bytes_sent_are_those_of_the_serialised_messages():
    config = small_config("bmc-analytic", sketch=4, centre_sketch=8)
    method = learned("bmc-analytic", STREAM, config)
    sent = sum(t.n_classes * (2 * D + 4) + 4 * (2 * D + 4) + 4 for t in tensors(STREAM))
    assert sent < method.communication_bytes < sent + 6 * 500  # headers
    assert method.broadcast_bytes == 0
    assert method.memory_bytes() == C * (2 * D + 4) + 8 * (2 * D + 4) + 4


def test_a_class_of_one_sample_and_equal_samples_have_no_scatter():
    task = tensors(STREAM)[1]
    same = torch.ones(3, D)
    data = type(task.train)(same, torch.tensor([0, 1, 1]))
    message = Message.of(data, 0, 2, 4, CPU)
    assert len(message.sketch.values) == 0
    assert message.sketch.rest.item() == 0
    method = METHODS.get("bmc-analytic")(D, 2, small_config("bmc-analytic"), CPU)
    method.learn([type(task)(0, "t", "t", 0, 2, data, data, data)])
    assert torch.isfinite(method.scores(same)).all()
