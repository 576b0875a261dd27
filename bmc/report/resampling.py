"""Intervals and tests over test samples: what others of the same tasks would have given.

Every task counts alike, so samples are redrawn within their tasks. The columns of ``sums`` are
methods, or pairs of methods, all of which see the same draws: a method's numbers do not depend on
what else is compared.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np
import numpy.typing as npt

CONFIDENCE = 0.95
DRAWS = 2_000  # of a bootstrap
FLIPS = 9_999  # of a test: its smallest p is 1 / (1 + FLIPS)
SEED = 0
BLOCK = 2**16  # weights that are drawn at once
ROUNDING = 1e-9  # between totals that are equal but for the order of their terms

Sums = npt.NDArray[np.float32]
Totals = npt.NDArray[np.float64]
Weights = Callable[[np.random.Generator, int, int], npt.NDArray[np.float32]]


def totals(sums: Sums, sizes: Sequence[int]) -> Totals:
    """Return the sum over tasks of the mean over their samples, [G].

    ``sums`` [N, G] has whole numbers below 2^24 in all, task after task: of each sample, in how
    many runs it was right, or the difference of two such numbers. ``sizes`` are the samples of
    each task, at least 1.
    """
    of_tasks = [part.mean(axis=0, dtype=np.float64) for part in _tasks(sums, sizes)]
    found: Totals = np.sum(of_tasks, axis=0)
    return found


def bootstrap_intervals(sums: Sums, sizes: Sequence[int]) -> Totals:
    """Return the ends of the 95 % intervals of `totals` by the bootstrap (percentiles), [2, G].

    Of the n samples of a task, n - 1 are redrawn each time (McCarthy and Snowden 1985): with n,
    the variance of the task's mean would come out a factor of (n - 1) / n too small. No end lies
    outside what values of samples can give.
    """
    redrawn = _redrawn(sums, sizes, DRAWS, _picks, [max(size - 1, 1) for size in sizes])
    tail = (1 - CONFIDENCE) / 2
    ends: Totals = np.quantile(redrawn, [tail, 1 - tail], axis=0)
    return ends


def sign_flip_p(sums: Sums, sizes: Sequence[int]) -> Totals:
    """Return the two-sided p of differences between two methods, [G], never 0.

    If two methods are alike, the difference of each sample might as well have the other sign. p
    is the share of random signs whose total is as far from 0 as the one found, which counts as
    one of them: (1 + count) / (1 + FLIPS). For two single runs on one task, this is the exact
    test of McNemar by random draws.
    """
    flipped = _redrawn(sums, sizes, FLIPS, _signs, sizes)
    further = np.abs(flipped) >= np.abs(totals(sums, sizes)) - ROUNDING
    p: Totals = (1 + further.sum(axis=0)) / (1 + FLIPS)
    return p


def _tasks(sums: Sums, sizes: Sequence[int]) -> list[Sums]:
    return np.split(sums, np.cumsum(sizes)[:-1])


def _redrawn(
    sums: Sums, sizes: Sequence[int], draws: int, weights: Weights, over: Sequence[int]
) -> Totals:
    """Return so many totals [draws, G] of weighted samples, each task's divided by ``over``."""
    draw = np.random.default_rng(SEED)
    total = np.zeros((draws, sums.shape[1]))
    for part, count in zip(_tasks(sums, sizes), over, strict=True):
        for rows in _blocks(draws, len(part)):
            drawn = weights(draw, rows.stop - rows.start, len(part))
            total[rows] += (drawn @ part).astype(np.float64) / count
    return total


def _blocks(draws: int, size: int) -> Iterator[slice]:
    rows = max(1, BLOCK // size)
    for first in range(0, draws, rows):
        yield slice(first, min(first + rows, draws))


def _picks(draw: np.random.Generator, draws: int, size: int) -> npt.NDArray[np.float32]:
    """Return how often each sample is picked by each draw of size - 1 of them, [draws, size]."""
    picked = draw.integers(0, size, (draws, max(size - 1, 1)), dtype=np.int64)
    picked += size * np.arange(draws)[:, None]
    counts = np.bincount(picked.ravel(), minlength=draws * size)
    return counts.reshape(draws, size).astype(np.float32)


def _signs(draw: np.random.Generator, draws: int, size: int) -> npt.NDArray[np.float32]:
    """Return random signs, [draws, size]."""
    bits = np.frombuffer(draw.bytes(-(-draws * size // 8)), dtype=np.uint8)
    signs = np.unpackbits(bits, count=draws * size).astype(np.float32)
    return 2 * signs.reshape(draws, size) - 1
