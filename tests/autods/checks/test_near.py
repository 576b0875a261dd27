"""Near-duplicates are those that comparing every pair finds, whatever the blocks."""

import numpy as np
import pytest
from feature_tools import write_set

from autods.checks import near, near_findings
from autods.checks.near import Joined, near_pairs
from autods.checks.near_findings import find_near
from autods.core.root import DataRoot
from autods.errors import FeatureMismatch


def cloud(n: int, d: int = 24, seed: int = 0) -> np.ndarray:
    """Positive features with a common part, as pooled ones have."""
    return np.random.default_rng(seed).gamma(0.7, size=(n, d)) + 0.2


def with_copies(n: int, noise: float, seed: int = 0) -> np.ndarray:
    x = cloud(n, seed=seed)
    x[n // 2 :] = x[: n - n // 2] + noise * cloud(n - n // 2, seed=seed + 1)
    return x


def brute(x: np.ndarray, threshold: float) -> set[tuple[int, int]]:
    unit = x.astype(np.float16).astype(np.float64)
    unit /= np.linalg.norm(unit, axis=1, keepdims=True)
    a, b = np.nonzero(np.triu(unit @ unit.T >= threshold, 1))
    return set(zip(a.tolist(), b.tolist(), strict=True))


def found(pairs) -> set[tuple[int, int]]:
    return {pair for p in pairs for pair in zip(p.a.tolist(), p.b.tolist(), strict=True)}


@pytest.mark.parametrize("threshold", [0.6, 0.9, 0.99])
@pytest.mark.parametrize("widths", [(1, 1), (4, 4), (24, 24)])
@pytest.mark.parametrize("noise", [0.01, 0.3])
def test_all_pairs_are_found_for_any_number_of_columns(tmp_path, monkeypatch, threshold, widths,
                                                       noise):  # fmt: skip
    monkeypatch.setattr(near, "WIDTHS", widths)
    monkeypatch.setattr(near, "TILE", (7, 13))
    monkeypatch.setattr(near, "GATHERED", 5)
    x = with_copies(60, noise)
    stored = write_set(DataRoot(tmp_path), "pets", {"train": (x, [0] * 60)})
    assert found(near_pairs(Joined([stored]), threshold)) == brute(x, threshold)


def test_the_sketch_of_many_rows_stays_within_its_memory(tmp_path, monkeypatch):
    monkeypatch.setattr(near, "WIDTHS", (3, 192))
    monkeypatch.setattr(near, "SKETCH", 4 * 50 * 10)
    table = Joined([write_set(DataRoot(tmp_path), "pets", {"train": (cloud(50), [0] * 50)})])
    assert near._sketch(table, near._directions(table, near.SKETCH)).shape == (50, 11)


def test_counts_say_which_splits_and_classes_share_images(tmp_path):
    x = cloud(10)
    train = np.concatenate([x[:6], x[:1] * 1.01 + 0.001])  # row 6 is near row 0
    test = np.concatenate([x[6:9], x[1:2] + 0.001, x[2:3] + 0.001])  # near rows 1 and 2
    stored = write_set(
        DataRoot(tmp_path), "pets", {"train": (train, [0, 1, 0, 1, 0, 1, 1]),
                                     "test": (test, [0, 1, 0, 1, 1])},
    )  # fmt: skip
    result = find_near([stored], near_pairs(Joined([stored]), 0.999))
    assert result.within(0) == {
        "images": 6,
        "within": {"train": 1, "dev": 0, "test": 0},
        "across": {"train in test": 2, "dev in test": 0, "dev in train": 0},
        "conflicts": 4,
    }
    assert result.total == 3
    assert result.group[[0, 6]].tolist() == [0, 0]
    assert len(set(result.group.tolist())) == 9


def test_exact_copies_are_left_to_the_hashes(tmp_path):
    x = np.repeat(cloud(3), 2, axis=0)
    stored = write_set(
        DataRoot(tmp_path), "pets", {"train": (x, [0] * 6)},
        hashes={"train": [1, 1, 2, 2, 3, 4]},
    )  # fmt: skip
    result = find_near([stored], near_pairs(Joined([stored]), 0.999))
    assert result.total == 1
    assert (result.kept.a.tolist(), result.kept.b.tolist()) == ([4], [5])
    assert result.group.tolist() == [0, 0, 2, 2, 4, 4]


def test_datasets_that_share_images_are_named_with_counts(tmp_path):
    x, root = cloud(9), DataRoot(tmp_path)
    pets = write_set(root, "pets", {"train": (x[:5], [0, 1, 0, 1, 0])})
    toys = write_set(root, "toys", {"train": (x[3:] + 0.001, [0, 1, 0, 1, 0, 1])})
    result = find_near([pets, toys], near_pairs(Joined([pets, toys]), 0.999))
    assert result.between() == [{"datasets": ["pets", "toys"], "pairs": 2, "images": [2, 2]}]
    assert result.within(0)["images"] == result.within(1)["images"] == 0


def test_only_the_nearest_pairs_are_kept_and_all_are_counted(tmp_path, monkeypatch):
    monkeypatch.setattr(near_findings, "KEPT", 5)
    monkeypatch.setattr(near_findings, "PENDING", 3)
    monkeypatch.setattr(near, "TILE", (4, 4))
    x = with_copies(40, 0.05)
    stored = write_set(DataRoot(tmp_path), "pets", {"train": (x, [0] * 40)})
    result = find_near([stored], near_pairs(Joined([stored]), 0.9))
    assert result.total == len(brute(x, 0.9))
    every = np.sort(np.concatenate([p.cosine for p in near_pairs(Joined([stored]), 0.9)]))[::-1]
    assert result.kept.cosine.tolist() == every[:5].tolist()
    assert (result.group[20:] == result.group[:20]).all()


def test_features_of_two_lengths_are_refused(tmp_path):
    root = DataRoot(tmp_path)
    pets = write_set(root, "pets", {"train": (cloud(3, 4), [0, 1, 0])})
    toys = write_set(root, "toys", {"train": (cloud(3, 5), [0, 1, 0])})
    with pytest.raises(FeatureMismatch, match="4 dimensions, those of 'toys' 5"):
        Joined([pets, toys])
