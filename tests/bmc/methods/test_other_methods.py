"""Fine-tuning with restart, iCaRL, GDumb, DMC, zero-shot CLIP, and streams that do not fit."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from small import CPU, learned, small_config, small_stream, tensors
from typer.testing import CliRunner

from autods.core.root import DataRoot
from autods.errors import FeaturesMissing, UsageError
from autods.features.class_names import ClassTexts, write_texts
from autods.features.sets import seal_features
from autods.features.shards import ShardData, ShardInfo, write_shard
from autods.streams.open import open_stream
from autods.streams.synthetic import synthetic_stream
from bmc.cli.app import app
from bmc.config import Config
from bmc.methods import METHODS, Method
from bmc.methods.dmc import double_distillation
from bmc.methods.fit import fitting
from bmc.methods.icarl import herding, quotas
from bmc.runs.evaluate import evaluate
from bmc.runs.run import run
from bmc.train.copies import StackedCopies
from bmc.train.data import Split, TaskTensors, no_texts, training_data

STREAM = small_stream()
ENCODER = "clip.test"


def made(name: str, **changes: object) -> Method:
    return METHODS.get(name)(STREAM.dim, STREAM.n_classes, small_config(name, **changes), CPU)


def same(one: Method, two: Method) -> bool:
    return all(torch.equal(tensor, two.state()[name]) for name, tensor in one.state().items())


@pytest.mark.parametrize("restart", [True, False])
def test_with_restart_a_task_is_learned_as_if_nothing_came_before(restart):
    first, second = tensors(STREAM)[:2]
    after, alone = (made("finetune", restart=restart) for _ in range(2))
    after.learn([first])
    after.learn([second])
    alone.learn([second])
    assert same(after, alone) == restart


def herded_literally(phi: torch.Tensor, m: int) -> list[int]:
    """Algorithm 4 of the paper, term by term."""
    mu, chosen = phi.mean(dim=0), []
    for k in range(1, m + 1):
        distance = {
            n: float((mu - (phi[n] + sum(phi[j] for j in chosen)) / k).norm())
            for n in range(len(phi))
            if n not in chosen
        }
        chosen.append(min(distance, key=distance.__getitem__))
    return chosen


@pytest.mark.parametrize("unit", [True, False])
def test_herding_is_the_greedy_rule_of_the_paper(unit):
    draws = torch.Generator().manual_seed(0)
    for _ in range(10):
        phi = torch.rand(20, 6, generator=draws, dtype=torch.float64)
        phi = torch.nn.functional.normalize(phi, dim=1) if unit else phi
        assert herding(phi, 12).tolist() == herded_literally(phi, 12)
    assert sorted(herding(phi, 50).tolist()) == list(range(20))  # all there are, each once


@given(st.integers(0, 300), st.integers(1, 60))
def test_exemplar_sets_share_the_whole_memory_and_never_grow(memory, classes):
    turn = torch.randperm(61, generator=torch.Generator().manual_seed(0))
    m, later = quotas(turn[:classes], memory), quotas(turn[: classes + 1], memory)
    assert m.sum() == memory
    assert m.max() - m.min() <= 1  # each memory / classes, rounded
    assert (later[:-1] <= m).all()


def icarl_after(tasks: int, **changes: object) -> Method:
    method = made("icarl", **changes)
    for task in tensors(STREAM)[:tasks]:
        method.learn([task])
    return method


def exemplars_of(method: Method, c: int) -> torch.Tensor:
    n = len(method.memory)
    return method.memory.features[:n][method.memory.labels[:n] == c]


def test_the_loss_of_icarl_is_that_of_algorithm_3():
    method = icarl_after(1, dropout=0.0)
    former = method.net
    known, task = method.seen, tensors(STREAM)[1]
    method.known, method.seen = known, task.stop
    method.teacher.load_state_dict(former.state_dict())
    x = method.inputs(task.train.features[:5])
    labels = torch.tensor([[3, 16, 17, 18, 0]])  # exemplars of former classes among them
    q = former(x[None], classes=known)[0][0].sigmoid().double()
    method.net.train()
    weights = method.net.weights.data  # as in training: the classes met so far
    method.net.weights.data = weights[:, : method.net.size(task.stop)].clone()
    loss = method.loss(x[None], labels, torch.ones(1, 5, method.net.dropout_width, dtype=bool))
    g = method.net(x[None])[0][0].sigmoid().double()
    expected = 0.0
    for i in range(5):
        for y in range(task.stop):
            target = q[i, y] if y < known else float(y == labels[0, i])
            expected -= target * g[i, y].log() + (1 - target) * (1 - g[i, y]).log()
    assert loss.item() == pytest.approx(expected.item() / 5, rel=1e-5)
    assert task.stop == 19 and known == 16


def test_icarl_distils_the_network_of_before_the_task():
    method = icarl_after(1)
    before = {name: tensor.clone() for name, tensor in method.net.state_dict().items()}
    method.learn([tensors(STREAM)[1]])
    assert all(torch.equal(before[n], t) for n, t in method.teacher.state_dict().items())
    assert not torch.equal(before["weights"], method.net.weights)
    assert method.known == 16


def test_icarl_predicts_the_nearest_mean_of_exemplars():
    method = icarl_after(6)
    width = method.net.width
    x = tensors(STREAM)[3].test.features
    phi = method.net.phi(method.inputs(x))[:, -width:]
    phi = phi / phi.norm(dim=1, keepdim=True)
    means = []
    for c in range(method.seen):
        own = exemplars_of(method, c)
        e = method.net.phi(method.inputs(own))[:, -width:]
        mean = (e / e.norm(dim=1, keepdim=True)).mean(dim=0)
        means.append(mean / mean.norm())
    nearest = torch.cdist(phi, torch.stack(means)).argmin(dim=1)
    assert torch.equal(method.scores(x).argmax(dim=1), nearest)
    assert nearest.unique().numel() > 3


def test_exemplar_sets_of_former_classes_are_cut_to_their_first():
    first, second = icarl_after(1), icarl_after(2)
    assert len(first.memory) == len(second.memory) == 60
    for c in range(16):
        before, after = (exemplars_of(method, c) for method in (first, second))
        assert 0 < len(after) <= len(before)
        assert torch.equal(after, before[: len(after)])
    for method in (first, second):
        counts = torch.bincount(method.memory.labels[: len(method.memory)])
        assert counts.max() - counts.min() <= 1
        assert len(counts) == method.seen


def test_exemplars_join_the_training_data_of_the_next_task():
    task = tensors(STREAM)[1]
    joined = icarl_after(1)._joined(task.train)
    assert len(joined) == len(task.train) + 60
    assert joined.labels[-60:].unique().tolist() == list(range(16))


def test_with_less_memory_than_classes_icarl_keeps_to_it_and_predicts_what_it_knows():
    method = icarl_after(6, memory=20)
    kept = method.memory.labels[: len(method.memory)].unique()
    assert len(method.memory) == len(kept) == 20 < method.seen
    predicted = method.scores(tensors(STREAM)[0].test.features).argmax(dim=1)
    assert set(predicted.tolist()) <= set(kept.tolist())


class Greedy:
    """The sampler of GDumb (Algorithm 1), sample by sample: how many of each class it holds."""

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self.counts: dict[int, int] = {}
        self.draws = np.random.default_rng(0)

    def offer(self, label: int) -> None:
        if label in self.counts and self.counts[label] >= self.capacity / len(self.counts):
            return
        if sum(self.counts.values()) >= self.capacity:
            most = max(self.counts.values())
            largest = [name for name, count in self.counts.items() if count == most]
            self.counts[int(self.draws.choice(largest))] -= 1
        self.counts[label] = self.counts.get(label, 0) + 1


def offered(method: Method, index: int, start: int, sizes: list[int]) -> torch.Tensor:
    """Offer a task with so many samples of each class to GDumb; return the labels."""
    labels = torch.repeat_interleave(torch.arange(len(sizes)), torch.tensor(sizes)) + start
    data = Split(torch.ones(len(labels), STREAM.dim, dtype=torch.float16), labels)
    method._offer(TaskTensors(index, "t", "t", start, start + len(sizes), data, data, data))
    return labels


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(1, 5), min_size=1, max_size=5), st.integers(1, 40))
def test_gdumb_keeps_as_many_of_each_class_as_the_greedy_sampler(tasks, capacity):
    method, sampler, start = made("gdumb", memory=capacity), Greedy(capacity), 0
    for index, classes in enumerate(tasks):
        labels = offered(method, index, start, [45] * classes)
        for label in labels[torch.from_numpy(sampler.draws.permutation(len(labels)))].tolist():
            sampler.offer(label)
        start += classes
        ours = torch.bincount(method.memory.labels, minlength=start).tolist()
        # the same but for which of several equally large classes has one more
        assert sorted(ours) == sorted(sampler.counts.values())


def test_gdumb_leaves_no_memory_unused_where_classes_are_small():
    method = made("gdumb", memory=20)
    offered(method, 0, 0, [3, 30])
    assert torch.bincount(method.memory.labels).tolist() == [3, 17]
    offered(method, 1, 2, [30, 2])
    assert torch.bincount(method.memory.labels).tolist() in ([3, 8, 7, 2], [3, 7, 8, 2])


def test_gdumb_learns_from_its_memory_alone():
    whole, twin = made("gdumb"), made("gdumb")
    for task in tensors(STREAM)[:3]:
        whole.learn([task])
    twin.memory, twin.seen = whole.memory, whole.seen
    twin.net.weights.data.normal_(generator=torch.Generator().manual_seed(0))  # of no effect
    twin._fit(2)
    assert same(whole, twin)
    assert whole.memory.labels.bincount().max() - whole.memory.labels.bincount().min() <= 1


def test_the_learning_rate_of_gdumb_is_a_cosine_between_its_two_rates(monkeypatch):
    rates: list[float] = []
    update = StackedCopies.update
    monkeypatch.setattr(
        StackedCopies,
        "update",
        lambda self, *rest: (rates.append(self.rate), update(self, *rest))[1],
    )
    made("gdumb", rate=0.01, last_rate=0.0001).learn(tensors(STREAM)[:1])
    n = len(rates)
    expected = 0.0001 + 0.5 * (0.01 - 0.0001) * (1 + np.cos(np.pi * np.arange(n) / n))
    np.testing.assert_allclose(rates, expected, rtol=1e-9)
    assert n == -(-60 * small_config("gdumb").options.memory_epochs // 64)


def test_double_distillation_is_the_distance_to_centred_logits():
    old = torch.tensor([[[5.0, 1.0, 3.0]]])  # centred: 2, -2, 0
    new = torch.tensor([[[10.0, 20.0]]])  # centred: -5, 5
    target = torch.tensor([[[2.0, -2.0, 0.0, -5.0, 5.0]]])
    assert double_distillation(target, old, new).item() == 0
    off = target + torch.tensor([1.0, 0.0, 0.0, 0.0, 3.0])
    assert double_distillation(off, old, new).item() == pytest.approx((1 + 9) / 5)


def test_as_published_targets_are_centred_over_the_batch():
    draws = torch.Generator().manual_seed(3)
    old, new = torch.randn(1, 8, 3, generator=draws), torch.randn(1, 8, 2, generator=draws)
    student = torch.randn(1, 8, 5, generator=draws)
    target = np.concatenate([old[0].numpy(), new[0].numpy()], axis=1)
    expected = np.mean((student[0].numpy() - (target - target.mean(axis=0))) ** 2)
    assert double_distillation(student, old, new, -2).item() == pytest.approx(expected, rel=1e-5)
    assert double_distillation(student, old, new).item() != pytest.approx(expected, rel=1e-2)


def test_expert_and_student_of_dmc_may_begin_anew_with_all_outputs_in_competition():
    first, second = tensors(STREAM)[:2]
    anew = made("dmc", restart=True, competition="all", epochs=1)
    anew.learn([first])
    known = anew._expert([second])
    anew.net.weights.data.zero_()  # what was learned before has no share in the expert
    assert torch.equal(known.weights, anew._expert([second]).weights)
    assert known.n_classes == STREAM.n_classes
    anew.learn([second])
    goes_on = made("dmc", epochs=1)
    goes_on.learn([first])
    assert goes_on._expert([second]).n_classes == second.stop - second.start


def test_dmc_reads_no_label_but_those_of_the_expert_s_own_task():
    first, second = tensors(STREAM)[:2]
    honest, fooled = made("dmc"), made("dmc")
    for method in (honest, fooled):
        method.learn([first])
    fooled.memory.labels.zero_()
    for method in (honest, fooled):
        method.learn([second])
    assert torch.equal(honest.net.weights, fooled.net.weights)
    assert honest.memory_bytes() == 60 * (2 * STREAM.dim + 4 + 4 + 4)


def test_the_student_of_dmc_comes_to_both_of_its_teachers():
    first, second = tensors(STREAM)[:2]
    method = made("dmc", epochs=20, distillation_epochs=100, dropout=0.0)
    method.learn([first])
    old = method.scores(second.test.features)
    expert = method._expert([second])
    new = expert(method.inputs(second.test.features)[None])[0]
    method.learn([second])
    reached = method.scores(second.test.features)[None]
    start = torch.zeros_like(reached)
    assert double_distillation(reached, old[None], new) < 0.25 * double_distillation(
        start, old[None], new
    )
    # it knows the new classes from the expert alone
    assert (new[0].argmax(dim=1) == reached[0, :, 16:].argmax(dim=1)).float().mean() > 0.9


def test_dropout_in_the_student_of_dmc_is_an_option():
    second = tensors(STREAM)[1]
    plain, off, on = (
        made("dmc", dropout=dropout, student_dropout=student)
        for dropout, student in ((0.0, True), (0.5, False), (0.5, True))
    )
    expert = plain._expert([second])
    for method in (plain, off, on):  # of the same initial weights
        method.seen = second.stop
        method._consolidate([second], expert)
    assert torch.equal(plain.net.weights, off.net.weights)
    assert not torch.equal(plain.net.weights, on.net.weights)


def test_joint_training_may_meet_every_class_equally_often():
    tasks = tensors(STREAM)
    drawn = {}
    for balanced in (False, True):
        method = made("joint", balanced=balanced, passes=4, epochs=2)
        data = training_data(tasks)
        course = method.course(data, ("batches", 0), ("dropout", 0))
        assert course.steps == -(-len(data) * 8 // 64)
        rows = course.sampler.take(course.steps * 64)
        drawn[balanced] = torch.bincount(data.labels[rows], minlength=STREAM.n_classes)
    assert drawn[True].max() - drawn[True].min() <= 1
    assert drawn[False].max() - drawn[False].min() > 10


def real_root(folder: Path, texts: bool) -> DataRoot:
    """Two datasets of random classes, and texts that are their centres."""
    root, rng = DataRoot.open(folder), np.random.default_rng(0)
    for name, classes in (("birds", 6), ("cats", 3)):
        centres = rng.standard_normal((classes, 8))
        centres /= np.linalg.norm(centres, axis=1, keepdims=True)
        names = {"kind": [f"{name} {c}" for c in range(classes)]}
        for split, n in (("train", 12), ("dev", 6), ("test", 12)):
            labels = (np.arange(n) % classes).astype(np.int32)
            noise = rng.normal(scale=0.01, size=(n, 8))
            data = ShardData(
                features=(3 * (centres[labels] + noise)).astype(np.float16),
                labels={"kind": labels},
                sample=np.arange(n, dtype=np.int64),
                content_hash=rng.integers(0, 1 << 60, n, dtype=np.uint64),
            )
            info = ShardInfo(
                dataset=name, split=split, default_task="kind", class_names=names,
                encoder={"model": "clip"}, fingerprint="cd" * 32, samples_sha256="ef" * 32,
                start=0, stop=n, index=0, count=1,
            )  # fmt: skip
            write_shard(root.shard(ENCODER, name, split, 0, 1), data, info)
        seal_features(root, ENCODER, name)
        if texts:
            write_texts(
                root.text(ENCODER, name, "plain"),
                ClassTexts(
                    dataset=name, default_task="kind", class_names=names, names=names,
                    embeddings={"kind": centres.astype(np.float16)}, templates_name="plain",
                    templates=["{}"], templates_sha256="ab" * 32, encoder={},
                ),
            )  # fmt: skip
    return root


@pytest.mark.parametrize("order", ["paper", 1])
def test_zero_shot_recognises_classes_by_their_names_in_any_order_and_cut(order, tmp_path):
    root = real_root(tmp_path, texts=True)
    stream = open_stream("birds,cats", root, ENCODER, order=order, classes_per_task=2)
    assert len(stream.tasks) == 5
    run(stream, "zero-shot", small_config("zero-shot", templates="plain"), tmp_path / "run")
    results = json.loads((tmp_path / "run" / "results.json").read_text())
    assert results["metrics"]["class-il"]["final_mean"] == 1.0
    assert results["costs"]["memory_bytes"] == 4 * 9 * 8
    assert results["costs"]["steps"] == 0


def test_scores_of_zero_shot_are_cosines_of_feature_and_text():
    method = learned("zero-shot", STREAM, small_config("zero-shot"))
    x = tensors(STREAM)[2].test.features
    texts = np.concatenate([task.class_embeddings() for task in STREAM.tasks])
    for c in (0, 17, STREAM.n_classes - 1):
        text = torch.from_numpy(texts[c])
        expected = torch.cosine_similarity(x.float(), text[None], dim=1)
        torch.testing.assert_close(method.scores(x)[:, c], expected)


def test_zero_shot_without_embedded_names_is_refused_before_anything_is_written(tmp_path):
    root = real_root(tmp_path / "root", texts=False)
    stream = open_stream("birds,cats", root, ENCODER)
    with pytest.raises(UsageError, match=r"birds, cats.*embed-classes .*clip\.test") as caught:
        run(stream, "zero-shot", small_config("zero-shot"), tmp_path / "run")
    assert str(caught.value).endswith("Nothing was run.")
    with pytest.raises(UsageError, match=r"synthetic.*Nothing was run"):
        run(synthetic_stream(tasks=2), "zero-shot", small_config("zero-shot"), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_all_methods_means_those_that_can_learn_the_stream(tmp_path, monkeypatch):
    stream = synthetic_stream(tasks=2, classes=704, dim=64, scale=1e-4)
    names, notes = fitting(["er", "zero-shot", "ncm"], stream, Config(), {})
    assert names == ["er", "ncm"]
    assert len(notes) == 1 and "Zero-shot CLIP" in notes[0] and notes[0].endswith("left out.")
    assert fitting(["er", "zero-shot"], STREAM, Config(), {}) == (["er", "zero-shot"], [])
    monkeypatch.setattr(METHODS, "names", lambda: ["ncm", "zero-shot"])
    begun = ["run", "--scenario", "class-il", "--max-tasks", "2", "--scale", "1e-4"]
    done = CliRunner().invoke(app, [*begun, "--method", "all", "--out", str(tmp_path / "all")])
    assert done.exit_code == 0, done.output
    assert notes[0] in done.stderr
    (folder,) = (tmp_path / "all").glob("*seed*")
    assert folder.name.startswith("ncm-order-paper-seed-0-")
    named = CliRunner().invoke(
        app, [*begun, "--method", "ncm,zero-shot", "--out", str(tmp_path / "named")]
    )
    assert isinstance(named.exception, UsageError)
    assert not (tmp_path / "named").exists()


def test_a_task_made_by_hand_says_that_it_has_no_class_names():
    task = replace(tensors(STREAM)[0], texts=no_texts)
    with pytest.raises(FeaturesMissing, match="carries none"):
        made("zero-shot").learn([task])


def test_icarl_and_gdumb_beat_fine_tuning_by_far():
    for name in ("icarl", "gdumb"):
        row = evaluate(learned(name, STREAM, small_config(name)), tensors(STREAM))
        assert row.class_il.mean() > 0.25
