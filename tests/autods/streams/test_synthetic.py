"""The generated stream: shape, determinism, order, size, and how hard it is."""

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from autods.core.splits import SPLITS
from autods.errors import UnknownName, UsageError
from autods.streams.stream import Stream
from autods.streams.synthetic import synthetic_stream
from autods.streams.synthetic_features import BLOCK, SyntheticFeatures, published_shape

FACTS = Path(__file__).resolve().parents[3].parent / "shared" / "facts"


@pytest.fixture(scope="module")
def stream() -> Stream:
    return synthetic_stream()


def digest(stream: Stream, name: str) -> str:
    """Hash features and labels within the task, over all splits of one task."""
    task = next(task for task in stream.tasks if task.name == name)
    sha = hashlib.sha256()
    for part in (task.train, task.dev, task.test):
        sha.update(part.features.tobytes())
        sha.update((part.labels - task.class_offset).tobytes())
    return sha.hexdigest()


# Shape


def test_the_shape_is_that_of_the_published_stream():
    shape = published_shape()
    assert len(shape.datasets) == 71
    assert sum(d.classes for d in shape.datasets) == shape.classes == 2866
    assert sum(d.train for d in shape.datasets) == shape.train == 6_770_722
    assert sum(d.test for d in shape.datasets) == shape.test == 743_977


@pytest.mark.skipif(not FACTS.exists(), reason="the facts are not beside the repository")
def test_known_counts_are_the_facts_and_all_others_are_marked_as_stand_ins():
    order = json.loads((FACTS / "stream71.json").read_text())["order"]
    facts = json.loads((FACTS / "datasets.json").read_text())["datasets"]
    expected = {fact["name"].lower(): fact["expected"] for fact in facts}
    keys = {"classes": "n_classes", "train": "n_train", "test": "n_val"}
    assert [d.name for d in published_shape().datasets] == order
    for dataset in published_shape().datasets:
        known = {k: expected[dataset.name].get(key) for k, key in keys.items()}
        assert dataset.stand_in == [k for k, value in known.items() if value is None]
        for key, value in known.items():
            assert value is None or value == getattr(dataset, key), (dataset.name, key)


def test_the_default_stream_has_all_tasks_and_classes_at_a_demo_size(stream):
    assert [t.name for t in stream.tasks] == [d.name for d in published_shape().datasets]
    assert [len(t.class_names) for t in stream.tasks] == [
        d.classes for d in published_shape().datasets
    ]
    assert stream.n_classes == 2866 and stream.dim == 512
    counts = stream.provenance["counts"]
    assert 25_000 < counts["train"] < 45_000
    assert all(counts[s] == sum(len(getattr(t, s)) for t in stream.tasks) for s in SPLITS)


def test_every_class_of_every_task_has_samples_in_every_split(stream):
    for task in stream.tasks:
        for part, least in ((task.train, 9), (task.dev, 1), (task.test, 3)):
            per_class = np.bincount(part.labels - task.class_offset)
            assert len(per_class) == len(task.class_names)
            assert per_class.min() >= least
            assert per_class.max() - per_class.min() <= 1
            assert part.features.shape == (len(part), 512)
            assert part.features.dtype == np.float16 and part.labels.dtype == np.int64


def test_at_scale_1_the_counts_are_the_published_ones():
    source = SyntheticFeatures(scale=1.0)
    for i, dataset in enumerate(published_shape().datasets):
        sizes = source.sizes(i)
        assert sizes["train"] + sizes["dev"] == dataset.train
        assert sizes["test"] == dataset.test


def test_a_task_of_millions_is_generated_block_by_block():
    source = SyntheticFeatures(scale=1.0)
    largest = max(range(71), key=lambda i: source.sizes(i)["train"])
    blocks = source.blocks(largest, "train")
    assert source.sizes(largest)["train"] > 2_000_000
    assert next(blocks).shape == (BLOCK, 512)


def test_blocks_are_the_features_in_pieces():
    source = SyntheticFeatures(scale=0.02, dim=32)
    for task, split in ((34, "train"), (0, "test")):
        whole = source.features(task, split)
        assert len(whole) == source.sizes(task)[split]
        np.testing.assert_array_equal(whole, np.concatenate(list(source.blocks(task, split))))


@settings(max_examples=20, deadline=None)
@given(st.floats(1e-5, 1.0), st.floats(1.0, 4.0))
def test_more_scale_never_means_fewer_samples(scale, factor):
    small, large = SyntheticFeatures(scale=scale), SyntheticFeatures(scale=scale * factor)
    for task in range(71):
        pairs = zip(small.sizes(task).values(), large.sizes(task).values(), strict=True)
        assert all(a <= b for a, b in pairs)


@settings(max_examples=30, deadline=None)
@given(st.integers(142, 2866))
def test_any_number_of_classes_is_met_exactly_and_in_proportion(classes):
    counts = SyntheticFeatures(classes=classes).class_counts
    assert sum(counts) == classes
    for count, dataset in zip(counts, published_shape().datasets, strict=True):
        share = 2 + (classes - 142) * (dataset.classes - 2) / (2866 - 142)
        assert 2 <= count <= dataset.classes and abs(count - share) < 1


# Determinism


@settings(max_examples=8, deadline=None)
@given(st.integers(0, 2**32), st.integers(0, 2**32), st.integers(1, 71))
def test_a_task_is_the_same_in_every_order_and_every_part_of_the_stream(seed, order, tasks):
    part = synthetic_stream(seed=seed, order=order, tasks=tasks, dim=16)
    whole = synthetic_stream(seed=seed, dim=16)
    for task in part.tasks[:3]:
        assert digest(part, task.name) == digest(whole, task.name)


def test_another_seed_gives_other_features():
    streams = [synthetic_stream(seed=seed, dim=16, tasks=1) for seed in (0, 0, 1)]
    digests = [digest(stream, "aircraft") for stream in streams]
    assert digests[0] == digests[1] != digests[2]


def test_splits_and_blocks_share_no_rows():
    source = SyntheticFeatures(scale=0.01, dim=16)
    rows = np.concatenate([source.features(34, split) for split in SPLITS])
    assert len(rows) > 2 * BLOCK
    assert len(np.unique(rows, axis=0)) == len(rows)


def test_the_number_of_threads_does_not_change_a_bit():
    code = (
        "import hashlib; from autods.streams.synthetic_features import SyntheticFeatures as S;"
        "f = S(scale=0.01).features(34, 'train');"
        "print(hashlib.sha256(f.tobytes()).hexdigest())"
    )
    digests = set()
    for threads in ("1", "2"):
        variables = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
        env = {**os.environ, **dict.fromkeys(variables, threads)}
        done = subprocess.run(
            [sys.executable, "-c", code], env=env, capture_output=True, check=True
        )
        digests.add(done.stdout)
    assert len(digests) == 1


def test_a_smaller_number_of_classes_keeps_the_first_classes_of_each_task():
    small, full = SyntheticFeatures(classes=704), SyntheticFeatures()
    for task in (0, 16, 49):
        first, both = small.class_centres(task), full.class_centres(task)
        np.testing.assert_array_equal(first, both[: len(first)])
        assert len(first) < len(both)


def test_the_numbers_are_those_of_generator_1(stream):
    row = stream.tasks[0].train.features[0].astype(np.float64)
    np.testing.assert_allclose(row[:4], GOLDEN_FIRST, atol=1e-4)
    total = sum(float(task.test.features[-1, 0]) for task in stream.tasks)
    assert total == pytest.approx(GOLDEN_SUM, abs=1e-3)


GOLDEN_FIRST = [0.009933, -0.012627, 0.036255, 0.050446]
GOLDEN_SUM = 0.420317


# Order, normalisation, provenance


def test_order_permutes_tasks_and_numbers_classes_anew(stream):
    shuffled = synthetic_stream(order=3)
    names = [task.name for task in shuffled.tasks]
    assert names != [task.name for task in stream.tasks]
    assert sorted(names) == sorted(task.name for task in stream.tasks)
    assert names == [task.name for task in synthetic_stream(order=3, seed=1).tasks]
    assert [task.name for task in synthetic_stream(order=names).tasks] == names
    offset = 0
    for index, task in enumerate(shuffled.tasks):
        assert (task.index, task.class_offset) == (index, offset)
        assert task.train.labels.min() == offset
        offset += len(task.class_names)
        assert task.train.labels.max() == offset - 1


def test_rows_have_length_1_or_that_of_raw_embeddings():
    unit, raw = (
        synthetic_stream(normalize=normalize, tasks=1).tasks[0].test.features.astype(np.float64)
        for normalize in ("l2", "none")
    )
    lengths = np.linalg.norm(raw, axis=1)
    np.testing.assert_allclose(np.linalg.norm(unit, axis=1), 1, atol=1e-3)
    assert 7 < lengths.mean() < 13
    np.testing.assert_allclose(raw / lengths[:, None], unit, atol=1e-3)


def test_the_fingerprint_tells_streams_apart_that_differ():
    def fingerprint(**options: object) -> str:
        return str(synthetic_stream(**options).provenance["fingerprint"])  # type: ignore[arg-type]

    variants: list[dict[str, object]] = [
        {},
        {"seed": 1},
        {"scale": 0.003},
        {"classes": 704},
        {"dim": 64},
        {"order": 1},
        {"tasks": 5},
        {"normalize": "none"},
    ]
    assert fingerprint() == fingerprint(scenario="task-il", order="paper")
    assert len({fingerprint(**options) for options in variants}) == len(variants)


def test_provenance_is_plain_data_and_names_the_stand_ins(stream):
    provenance = json.loads(json.dumps(stream.provenance))
    assert provenance["stream"] == "synthetic"
    assert provenance["parameters"]["seed"] == provenance["seed"] == 0
    assert "histaerial" in provenance["stand_ins"] and "aircraft" not in provenance["stand_ins"]
    assert provenance["order"][:2] == ["aircraft", "apparel"]


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"scenario": "class_il"}, UnknownName, "did you mean class-il"),
        ({"normalize": "L2"}, UnknownName, "did you mean l2"),
        ({"scale": 0.0}, UsageError, "scale: expected a number above 0"),
        ({"scale": float("nan")}, UsageError, "scale"),
        ({"tasks": 72}, UsageError, "tasks: expected 1 to 71, got 72"),
        ({"classes": 100}, UsageError, "classes: expected 142 to 2866, got 100"),
        ({"seed": -1}, UsageError, "seed: expected at least 0"),
        ({"dim": 0}, UsageError, "dim"),
        ({"order": "random"}, UsageError, "order: expected 'paper', a seed"),
        ({"order": -1}, UsageError, "order"),
        ({"order": ["aircarft"]}, UnknownName, "did you mean aircraft"),
        ({"order": ["aircraft"]}, UsageError, "every task exactly once"),
    ],
)
def test_a_wrong_option_is_answered_with_what_was_expected(options, error, words):
    with pytest.raises(error, match=words):
        synthetic_stream(**options)  # type: ignore[arg-type]


# Difficulty: closed forms written out here, so that a change of a method cannot hide one here


@pytest.fixture(scope="module")
def results(stream: Stream) -> dict[str, npt.NDArray[np.float64]]:
    """Per method: class-il, task-il, dataset-id and confusion-within-group shares, in %."""
    x = np.concatenate([task.train.features for task in stream.tasks]).astype(np.float32)
    y = np.concatenate([task.train.labels for task in stream.tasks])
    means = np.zeros((stream.n_classes, stream.dim), np.float32)
    np.add.at(means, y, x)
    means /= np.bincount(y)[:, None]
    centred = x - means[y]
    covariance = centred.T @ centred / (len(x) - len(means))
    eye = np.eye(len(covariance), dtype=np.float32)
    covariance = 0.9 * covariance + 0.1 * np.trace(covariance) / len(covariance) * eye
    lda = np.linalg.solve(covariance, means.T)
    cosine = (means / np.linalg.norm(means, axis=1, keepdims=True)).T
    return {
        "ncm": _macro(stream, cosine, np.zeros(len(means), np.float32)),
        "slda": _macro(stream, lda, -0.5 * (means * lda.T).sum(axis=1)),
    }


def _macro(
    stream: Stream, weight: npt.NDArray[np.float32], bias: npt.NDArray[np.float32]
) -> npt.NDArray[np.float64]:
    dataset_of = np.repeat(range(71), [len(task.class_names) for task in stream.tasks])
    rows = []
    for task in stream.tasks:
        scores = task.test.features.astype(np.float32) @ weight + bias
        own = slice(task.class_offset, task.class_offset + len(task.class_names))
        predicted = scores.argmax(axis=1)
        rows.append(
            [
                (predicted == task.test.labels).mean(),
                (scores[:, own].argmax(axis=1) + own.start == task.test.labels).mean(),
                (dataset_of[predicted] == task.index).mean(),
            ]
        )
    return 100 * np.mean(rows, axis=0)


def test_slda_and_ncm_land_in_the_band_of_real_features(results):
    for class_il, _, _ in results.values():
        assert 55 < class_il < 85
    assert results["slda"][0] > results["ncm"][0] + 5


def test_datasets_overlap_so_that_class_il_is_harder_than_task_il(results):
    class_il, task_il, dataset_id = results["slda"]
    assert task_il - class_il > 8
    assert 80 < dataset_id < 95


def test_datasets_are_confused_within_their_group(stream):
    source = SyntheticFeatures()
    groups = source.groups
    means = np.stack([t.train.features.astype(np.float32).mean(axis=0) for t in stream.tasks])
    means -= means.mean(axis=0)
    means /= np.linalg.norm(means, axis=1, keepdims=True)
    same = groups[:, None] == groups[None, :]
    np.fill_diagonal(same, False)
    similarity = means @ means.T
    assert similarity[same].mean() > similarity[~same & ~np.eye(71, dtype=bool)].mean() + 0.3


def test_features_lie_in_a_cone_as_those_of_clip_do(stream):
    x = np.concatenate([task.test.features[:20] for task in stream.tasks]).astype(np.float32)
    assert 0.4 < float((x @ x.T).mean()) < 0.8
