from dataclasses import replace

import pytest
import torch
from gradients_by_hand import written_out
from small import CPU, learned, small_config, small_stream, tensors
from torch import Tensor
from torch.nn import functional

from bmc.methods import METHODS
from bmc.methods.gss import GreedyMemory
from bmc.methods.lwf import distillation
from bmc.methods.penalty import PenaltyMethod
from bmc.network.gradients import cross_entropy, squared_length
from bmc.train.copies import StackedCopies
from bmc.train.data import Split, TaskTensors

STREAM = small_stream()
PENALTIES = ("ewc", "mas", "si")


def made(name: str, **changes: object):
    return METHODS.get(name)(STREAM.dim, STREAM.n_classes, small_config(name, **changes), CPU)


def cut(task: TaskTensors) -> TaskTensors:
    """The task with few training samples: gradients written out take their time."""
    return replace(task, train=Split(task.train.features[:24], task.train.labels[:24]))


def by_hand(method: PenaltyMethod, task, value, each) -> Tensor:
    """The mean of each(g_n) over a task's samples, padded to the whole row."""
    x = method.inputs(task.train.features)
    g = written_out(method.net, method.seen, x, task.train.labels, value)
    return functional.pad(each(g).mean(dim=0), (0, method.importance.shape[1] - g.shape[1]))


@pytest.mark.parametrize(
    ("name", "option", "value", "each"),
    [("ewc", "gamma", cross_entropy, torch.square),
     ("mas", "gamma", squared_length, torch.abs)],
)  # fmt: skip
def test_importances_are_the_decayed_sum_over_tasks_of_each_task_s_mean(name, option, value, each):
    method = made(name, **{option: 0.5})
    expected = torch.zeros(method.importance.shape[1])
    for task in map(cut, tensors(STREAM)[1:3]):
        method.learn([task])
        expected = 0.5 * expected + by_hand(method, task, value, each)
    torch.testing.assert_close(method.importance[0], expected, rtol=1e-3, atol=1e-6)  # float32
    unseen = method.importance[:, method.net.size(method.seen) :]
    assert (unseen == 0).all()
    assert (method.net.views(method.importance).head_bias[..., method.seen :] == 0).all()


@pytest.mark.parametrize(
    ("name", "options", "factor"),
    [("ewc", {"lam": 3.0}, 3.0 / 2), ("mas", {"lam": 3.0}, 3.0),
     ("si", {"c": 3.0}, 3.0)],
)  # fmt: skip
def test_an_update_follows_the_loss_and_the_weighted_distance_to_the_anchor(name, options, factor):
    method, task = made(name, **options), tensors(STREAM)[0]
    draws = torch.Generator().manual_seed(0)
    method.seen = task.stop
    method.importance = torch.rand(method.importance.shape, generator=draws)
    method.begin_group([task])
    net = method.net
    x, labels = method.inputs(task.train.features[None, :32]), task.train.labels[None, :32]
    keep = torch.ones(1, 32, net.dropout_width, dtype=torch.bool)
    with StackedCopies(net, method.config, 0.001, task.stop, False) as update:
        start = net.weights.data.clone()
        net.weights.data += 0.01 * torch.randn(start.shape, generator=draws)
        weights = net.weights.data.clone()
        of_loss = update.gradient(method.loss(x, labels, keep)).clone()
        method.observe(update, x, labels, keep)
        theta = weights.clone().requires_grad_()
        size = weights.shape[1]
        (factor * (method.importance[:, :size] * (theta - start) ** 2).sum()).backward()
        torch.testing.assert_close(net.weights.grad, of_loss + theta.grad)
        assert not torch.equal(net.weights.data, weights)


def test_the_path_integral_of_si_is_the_loss_that_the_task_lost():
    task = tensors(STREAM)[0]
    method = made("si", weight_decay=0.1, dropout=0.0, c=0.0, xi=0.01)
    method.seen = task.stop
    method.begin_group([task])
    x, labels = method.inputs(task.train.features[None]), task.train.labels[None]
    keep = torch.ones(1, len(task.train), method.net.dropout_width, dtype=torch.bool)

    def task_loss() -> float:
        with torch.no_grad():
            return method.loss(x, labels, keep).item()

    with StackedCopies(method.net, method.config, 1e-4, task.stop, False) as update:
        losses = [task_loss()]
        for _ in range(50):  # small steps with the same batch: a fine path
            method.observe(update, x, labels, keep)
            losses.append(task_loss())
    assert losses[-1] < 0.9 * losses[0]
    assert method._path.sum().item() == pytest.approx(losses[0] - losses[-1], rel=0.05)
    moved = method.net.weights.data[:, : method.net.size(task.stop)] - method._anchor
    for times in (1, 2):  # Omega += omega / (Delta^2 + xi)
        method.importance = method.renewed([task])
        expected = times * method._path.clamp(min=0) / (moved**2 + 0.01)
        own = method.importance[:, : moved.shape[1]]
        torch.testing.assert_close(own, expected, rtol=1e-5, atol=0)
    assert (method.importance[:, moved.shape[1] :] == 0).all()
    before = method.importance.clone()
    method._path.fill_(-1.0)  # as the noise of batches may leave it
    assert torch.equal(method.renewed([task]), before)


def test_si_leaves_the_penalty_out_of_the_path_integral():
    """One update from the same point: the path is the loss's gradient times what AdamW did."""
    task = tensors(STREAM)[0]
    method = made("si", c=50.0)
    method.seen = task.stop
    method.importance += 1.0
    method.begin_group([task])
    x, labels = method.inputs(task.train.features[None, :32]), task.train.labels[None, :32]
    keep = torch.ones(1, 32, method.net.dropout_width, dtype=torch.bool)
    with StackedCopies(method.net, method.config, 0.001, task.stop, False) as update:
        method.net.weights.data += 0.01  # off the anchor, so that the penalty pulls
        before = method.net.weights.data.clone()
        of_loss = update.gradient(method.loss(x, labels, keep)).clone()
        method.observe(update, x, labels, keep)
        change = method.net.weights.data - before
        torch.testing.assert_close(method._path, -of_loss * change, rtol=1e-4, atol=1e-9)


@pytest.mark.parametrize(
    ("name", "weight", "least"), [("ewc", "lam", 1e3), ("mas", "lam", 1e1),
                                  ("si", "c", 1e5)],
)  # fmt: skip
def test_a_stronger_penalty_keeps_important_parameters_nearer_to_their_anchor(name, weight, least):
    first, second = tensors(STREAM)[:2]
    moved = {}
    for value in (0.0, least):
        method = made(name, epochs=6, **{weight: value})
        method.learn([first])
        importance, anchor = method.importance.clone(), method.net.weights.data.clone()
        method.learn([second])
        moved[value] = (importance * (method.net.weights.data - anchor) ** 2).sum().item()
    assert moved[least] < 0.5 * moved[0.0]


@pytest.mark.parametrize("name", PENALTIES)
def test_without_weight_a_penalty_method_is_fine_tuning(name):
    weight = {"ewc": "lam", "mas": "lam", "si": "c"}[name]
    plain = learned("finetune", STREAM, small_config("finetune")).state()
    state = learned(name, STREAM, small_config(name, **{weight: 0.0})).state()
    assert all(torch.equal(plain[key], state[key]) for key in plain)
    assert state["importance"].max() > 0


def test_distillation_is_the_cross_entropy_of_probabilities_to_the_power_of_one_over_t():
    draws = torch.Generator().manual_seed(0)
    teacher, student = (torch.randn(1, 5, 4, generator=draws) for _ in range(2))
    softened = []
    for logits in (teacher, student):
        raised = logits.softmax(dim=-1) ** (1 / 3)
        softened.append(raised / raised.sum(dim=-1, keepdim=True))
    expected = -(softened[0] * softened[1].log()).sum(dim=-1).mean(dim=-1)
    torch.testing.assert_close(distillation(teacher, student, 3.0), expected)
    same = teacher.clone().requires_grad_()
    distillation(teacher, same, 3.0).sum().backward()
    torch.testing.assert_close(same.grad, torch.zeros_like(same.grad), atol=1e-7, rtol=0)


def test_lwf_distils_the_classes_known_before_the_task_from_the_network_before_it():
    method = made("lwf", alpha=3.0, temperature=2.0)
    first, second = tensors(STREAM)[:2]
    method.learn([first])
    x, labels = method.inputs(second.train.features[None, :40]), second.train.labels[None, :40]
    before = method.net(x, classes=first.stop)[0].clone()
    method.seen = second.stop
    method.begin_group([second])
    keep = torch.ones(1, 40, method.net.dropout_width, dtype=torch.bool)
    with StackedCopies(method.net, method.config, 0.001, second.stop, False):
        method.net.weights.data += 0.01  # the student moves on, the teacher does not
        logits = method.net(x, keep)[0]
        task = functional.cross_entropy(logits[0], labels[0])
        known = distillation(before, logits[..., : first.stop], 2.0)
        torch.testing.assert_close(method.loss(x, labels, keep), task + 3.0 * known)


def test_the_task_s_loss_of_lwf_may_be_over_its_own_classes_alone():
    method = made("lwf", alpha=0.0, competition="task", outputs="all")
    first, second = tensors(STREAM)[:2]
    method.learn([first])
    method.seen = second.stop
    method.begin_group([second])
    x, labels = method.inputs(second.train.features[None, :40]), second.train.labels[None, :40]
    keep = torch.ones(1, 40, method.net.dropout_width, dtype=torch.bool)
    with StackedCopies(method.net, method.config, 0.001, method.outputs, False):
        own = method.net(x, keep)[0][0, :, first.stop : second.stop]
        expected = functional.cross_entropy(own, labels[0] - first.stop)
        torch.testing.assert_close(method.loss(x, labels, keep)[0], expected)


def test_distillation_keeps_the_answers_of_the_network_before_the_task():
    first, second = tensors(STREAM)[:2]
    drift = {}
    for alpha in (0.0, 10.0):
        method = made("lwf", alpha=alpha, epochs=10)
        method.learn([first])
        before = method.scores(second.train.features).softmax(dim=1)
        method.learn([second])
        after = method.scores(second.train.features)[:, : first.stop].softmax(dim=1)
        drift[alpha] = (before - after).abs().sum(dim=1).mean().item()
    assert drift[10.0] < 0.7 * drift[0.0]


def stored(scores: list[float]) -> GreedyMemory:
    memory = GreedyMemory(len(scores), 2, CPU)
    n = len(scores)
    offer(memory, torch.zeros(n, 2), torch.arange(n), torch.tensor(scores), torch.Generator())
    return memory


def offer(memory: GreedyMemory, features, labels, scores, draws: torch.Generator) -> None:
    memory.offer(features, labels, scores, *memory.reserve(len(labels), draws))


def test_a_full_memory_of_gss_replaces_with_the_probabilities_of_the_algorithm():
    scores, c, trials = [0.2, 1.0, 1.8], 0.6, 4000
    draws = torch.Generator().manual_seed(0)
    counts = torch.zeros(3)
    memory = stored(scores)
    begun = {name: tensor.clone() for name, tensor in memory.state().items()}
    for _ in range(trials):
        memory.load_state(begun)
        offer(memory, torch.ones(1, 2), torch.tensor([9]), torch.tensor([c]), draws)
        replaced = memory.labels == 9
        counts += replaced
        assert replaced.sum() <= 1
        expected_scores = torch.where(replaced, torch.tensor(c), torch.tensor(scores))
        assert torch.equal(memory.scores, expected_scores)
    own = torch.tensor(scores)
    expected = own / own.sum() * own / (own + c)
    # four standard deviations of a share of 4,000 trials
    torch.testing.assert_close(counts / trials, expected, atol=4 * 0.5 / trials**0.5, rtol=0)


def test_a_sample_whose_score_is_not_below_one_replaces_nothing():
    memory = stored([2.0, 2.0])
    draws = torch.Generator().manual_seed(0)
    for _ in range(50):
        offer(memory, torch.ones(3, 2), torch.full((3,), 9), torch.tensor([1.0, 1.5, 2.0]), draws)
    assert memory.labels.tolist() == [0, 1]


def test_a_batch_fills_the_room_there_is_and_only_its_rest_competes():
    memory = GreedyMemory(5, 2, CPU)
    draws = torch.Generator().manual_seed(0)
    features = torch.arange(14.0).view(7, 2)
    offer(memory, features[:3], torch.arange(3), torch.ones(3), draws)
    assert len(memory) == 3
    offer(memory, features, torch.arange(10, 17), torch.full((7,), 1.0), draws)
    assert memory.labels.tolist() == [0, 1, 2, 10, 11]
    assert torch.equal(memory.features.float(), torch.cat([features[:3], features[:2]]))


def test_a_score_of_gss_is_one_more_than_the_largest_cosine_with_stored_gradients():
    method = made("gss", memory=20, samples=20)  # as many as there are: no draw to know of
    first, second = tensors(STREAM)[:2]
    method.learn([first])
    x, labels = method.inputs(second.train.features[:8]), second.train.labels[:8]
    kept = method.memory.features[:20], method.memory.labels[:20]
    with StackedCopies(method.net, method.config, 0.001, second.stop, False):
        # statistics and weights as they stand in training, running statistics in the gradient
        scores = method.compare(x, labels, torch.arange(20))
        stored_rows = method.inputs(kept[0]), kept[1]
        g, old = (
            written_out(method.net, second.stop, *rows, cross_entropy)
            for rows in ((x, labels), stored_rows)
        )
    cosines = functional.cosine_similarity(g[:, None], old[None], dim=2)
    torch.testing.assert_close(scores, cosines.amax(dim=1) + 1, rtol=1e-4, atol=1e-4)


def test_gss_offers_each_sample_of_a_task_exactly_once_whatever_the_epochs(monkeypatch):
    method = made("gss", epochs=3)
    offered = []
    monkeypatch.setattr(method.memory, "offer", lambda f, *_: offered.append(f.clone()))
    task = tensors(STREAM)[1]
    method.learn([task])
    rows = torch.cat(offered).half()
    assert len(rows) == len(task.train)
    assert {tuple(r) for r in rows.tolist()} == {tuple(r) for r in task.train.features.tolist()}


def test_bytes_of_what_importance_and_distillation_methods_keep():
    weights = made("finetune").net.weights.numel()
    for name in PENALTIES:  # float16 and a scale; the anchor is the network itself
        assert learned(name, STREAM, small_config(name)).memory_bytes() == 2 * weights + 4
    assert learned("lwf", STREAM, small_config("lwf")).memory_bytes() == 0  # so is the teacher
    assert learned("gss", STREAM, small_config("gss")).memory_bytes() == 60 * (
        2 * STREAM.dim + 4 + 4
    )
