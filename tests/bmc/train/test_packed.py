import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from bmc.train.packed import (
    COUNTS,
    COVARIANCE,
    GRAM,
    MEANS,
    TARGETS,
    Packing,
    from_upper_triangle,
    upper_triangle,
)

SIZES = st.integers(1, 9)
SCALES = st.sampled_from([1e-12, 1e-3, 1.0, 7e4, 1e12])  # float16 alone holds two of them
SEEDS = st.integers(0, 2**32)
HALF, FLOOR = 2.0**-11, 2.0**-25  # rounding of a number, and of one far below the largest


def drawn(seed: int, *shape: int) -> torch.Tensor:
    """Numbers over many orders of magnitude, float64."""
    draws = torch.Generator().manual_seed(seed)
    size = 10 ** (-6 * torch.rand(shape, generator=draws, dtype=torch.float64))
    return size * torch.randn(shape, generator=draws, dtype=torch.float64)


def stored(packing: Packing, tensor: torch.Tensor, seen: int) -> torch.Tensor:
    return packing.unpack("x", packing.pack("x", tensor, seen), tensor.shape[packing.classes or 0])


@given(SEEDS, SIZES, SIZES, SCALES)
def test_class_means_keep_eleven_bits_whatever_their_unit(seed, classes, dim, unit):
    means = unit * drawn(seed, classes, dim)
    largest = means.abs().amax(dim=1, keepdim=True)
    error = (stored(MEANS, means, classes) - means).abs()
    # the scale itself is rounded to float32
    assert (error <= 1.001 * (HALF * means.abs() + FLOOR * largest)).all()


@given(SEEDS, SIZES, SCALES)
def test_a_covariance_keeps_sixteen_bits_and_stays_symmetric(seed, dim, unit):
    roots = drawn(seed, 2 * dim, dim)
    covariance = unit * (roots.T @ roots)
    covariance = (covariance + covariance.T) / 2
    kept = stored(COVARIANCE, covariance, 0)
    error = (kept - covariance).abs()
    assert (error <= 1.001 * 2.0**-16 * covariance.abs()).all()
    assert torch.equal(kept, kept.T)


@given(SEEDS, SIZES, SCALES)
def test_sums_of_ridge_regression_keep_float32(seed, dim, unit):
    sums = unit * drawn(seed, dim, dim)
    for packing, tensor in ((GRAM, sums + sums.T), (TARGETS, sums)):
        assert torch.equal(stored(packing, tensor, dim), tensor.float().double())


@pytest.mark.parametrize("packing", [COUNTS, MEANS, COVARIANCE, GRAM, TARGETS])
@given(seed=SEEDS, dim=SIZES, unit=SCALES)
def test_what_was_read_back_is_stored_as_the_same_bits(packing, seed, dim, unit):
    tensor = unit * drawn(seed, dim, dim)
    if packing.symmetric:
        tensor = tensor + tensor.T
    if packing is COUNTS:
        tensor = tensor.clamp(-1e9, 1e9)
    first = packing.pack("x", tensor, dim)
    again = packing.pack("x", packing.unpack("x", first, dim), dim)
    assert first.keys() == again.keys()
    assert all(torch.equal(first[name], again[name]) for name in first)


@given(SEEDS, SIZES)
def test_a_triangle_holds_each_number_once(seed, dim):
    matrix = drawn(seed, dim, dim)
    rows = upper_triangle(matrix)
    assert len(rows) == dim * (dim + 1) // 2
    assert torch.equal(from_upper_triangle(rows, symmetric=False), matrix.triu())
    assert torch.equal(from_upper_triangle(rows), matrix.triu() + matrix.triu(1).T)


def test_classes_that_are_not_seen_yet_are_not_stored():
    means = drawn(0, 5, 3)
    state = MEANS.pack("means", means, 2)
    assert sum(t.nbytes for t in state.values()) == 2 * (3 * 2 + 4)
    read = MEANS.unpack("means", state, 5)
    assert read.shape == (5, 3)
    assert (read[2:] == 0).all()
    torch.testing.assert_close(read[:2], means[:2], rtol=1e-3, atol=1e-6)
    assert TARGETS.pack("q", means.T.contiguous(), 2)["q"].shape == (3, 2)


def test_zeros_and_nothing_are_stored_too():
    assert (stored(MEANS, torch.zeros(2, 3, dtype=torch.float64), 2) == 0).all()
    assert (stored(COVARIANCE, torch.zeros(3, 3, dtype=torch.float64), 0) == 0).all()
    empty = MEANS.pack("means", torch.zeros(4, 3, dtype=torch.float64), 0)
    assert MEANS.unpack("means", empty, 4).shape == (4, 3)
