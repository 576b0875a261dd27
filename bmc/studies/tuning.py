"""Hyper-parameters chosen on some datasets, for use on others; what ``tune.json`` holds.

Every method keeps its default, the first combination of the grid if that has no default, unless
another one is better on the development split of the datasets tuned on, by more than one standard
error of the difference: the best of several is else the luckiest of several. A comparison that
uses the choice must be on other datasets.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, stdev
from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from autods.core.files import read_json
from autods.core.refusals import refusal
from autods.core.seals import BrokenSealError
from autods.errors import UsageError
from bmc.config import Config, Overrides
from bmc.report.paired import difference_error
from bmc.report.resampling import ROUNDING
from bmc.report.statistics import interval
from bmc.runs.orders import Order
from bmc.studies.plan import ALL, Change, PlannedRun, parse_grid

if TYPE_CHECKING:
    from autods.streams.stream import Stream
    from bmc.report.finished import Run


class Measured(BaseModel):
    """One combination of one method.

    ``by_order`` is the accuracy (a fraction) in each order, mean over run seeds; ``low`` and
    ``high`` bound the 95 % interval of the mean over orders (``None`` for one order). All but the
    ``reference`` (the default, or the first combination) have the ``difference`` of their mean to
    its and the standard ``error`` of that, ``None`` if it is unknown.
    """

    method: str
    values: Change
    mean: float
    low: float | None
    high: float | None
    by_order: dict[str, float]
    default: bool = False
    reference: bool = False
    difference: float | None = None
    error: float | None = None
    chosen: bool = False

    @property
    def clearly_better(self) -> bool:
        """Whether it beats the reference by more than one standard error."""
        if self.difference is None or self.error is None:
            return False
        return self.difference > self.error + ROUNDING


class Tuned(BaseModel):
    """The choice: values by field and method, and all that it rests on."""

    model_config = ConfigDict(extra="forbid")

    format: Literal[1] = 1
    chosen: Overrides
    datasets: list[str]
    stream: str
    scenario: str
    protocol: str
    encoder: str | None
    orders: list[str]
    seeds: list[int]
    table: list[Measured]
    config: dict[str, Any]
    versions: dict[str, Any]
    diverged: dict[str, str] = {}  # why runs of combinations that could not be chosen diverged


@dataclass(frozen=True)
class Candidate:
    """A combination of values for one method, and the runs that measure it."""

    method: str
    values: Change
    runs: tuple[PlannedRun, ...]

    @property
    def default(self) -> bool:
        """Whether its values are those that the method has without a grid."""
        return all(name == "seed" for run in self.runs for name, _ in run.changes)


def choose(
    candidates: Sequence[Candidate],
    config: Config,
    runs: Mapping[str, Run],
    streams: Mapping[Order, Stream],
) -> Tuned:
    """Choose a combination for each method, as the head of this file says: of equals the first.

    The combinations, those of a method side by side, are changes of ``config``; ``runs`` has all
    planned runs by label.
    """
    table: list[Measured] = []
    for _, tried in itertools.groupby(candidates, key=lambda one: one.method):
        table += _compared(list(tried), runs)
    run = next(iter(runs.values()))
    return Tuned(
        chosen={row.method: row.values for row in table if row.chosen},
        datasets=datasets_of(streams.values()),
        stream=run.stream,
        scenario=run.scenario,
        protocol=run.protocol,
        encoder=run.encoder,
        orders=[str(order) for order in streams],
        seeds=sorted({run.run_seed for run in runs.values()}),
        table=table,
        config=config.as_dict(),
        versions=run.versions,
    )


def _compared(tried: Sequence[Candidate], runs: Mapping[str, Run]) -> list[Measured]:
    """Measure the combinations of one method, and mark the reference and the chosen one."""
    rows = [_measured(candidate, runs) for candidate in tried]
    usual = next((k for k, candidate in enumerate(tried) if candidate.default), 0)
    rows[usual].reference = True
    chosen = rows[usual]
    for row, candidate in zip(rows, tried, strict=True):
        if row is rows[usual]:
            continue
        row.difference = row.mean - rows[usual].mean
        row.error = _error(candidate, tried[usual], runs)
        if row.clearly_better and row.mean > chosen.mean:
            chosen = row
    chosen.chosen = True
    return rows


def _error(ours: Candidate, theirs: Candidate, runs: Mapping[str, Run]) -> float | None:
    """Return the standard error of the difference of two combinations; ``None`` if unknown.

    It is the larger of two: over the samples measured, and over orders (over run seeds if there
    is one order). A method may depend on neither order nor seed, and a difference that is the same
    in all orders may be one of few samples.
    """
    pairs = [
        (runs[ours_run.label], runs[theirs_run.label])
        for ours_run, theirs_run in zip(ours.runs, theirs.runs, strict=True)
    ]
    by_order: dict[str, list[float]] = {}
    for planned, (one, other) in zip(ours.runs, pairs, strict=True):
        by_order.setdefault(str(planned.order), []).append(_accuracy(one) - _accuracy(other))
    repeats = [fmean(of_seeds) for of_seeds in by_order.values()]
    if len(repeats) == 1:
        (repeats,) = by_order.values()
    errors = [difference_error(pairs, pairs[0][0].scenario)]
    if len(repeats) > 1:
        errors.append(stdev(repeats) / math.sqrt(len(repeats)))
    return max((error for error in errors if error is not None), default=None)


def _accuracy(run: Run) -> float:
    accuracy = run.metrics[run.scenario]["final_mean"]
    if accuracy is None:
        raise UsageError(
            f"{run.folder}: expected an accuracy on the development split, got none; nothing "
            "was chosen. Tune on datasets that have development samples."
        )
    return accuracy


def _measured(candidate: Candidate, runs: Mapping[str, Run]) -> Measured:
    orders: dict[str, list[float]] = {}
    for planned in candidate.runs:
        orders.setdefault(str(planned.order), []).append(_accuracy(runs[planned.label]))
    means = {order: fmean(values) for order, values in orders.items()}
    low, high = interval(list(means.values())) or (None, None)
    return Measured(
        method=candidate.method,
        values=candidate.values,
        mean=fmean(means.values()),
        low=low,
        high=high,
        by_order=means,
        default=candidate.default,
    )


def datasets_of(streams: Iterable[Stream]) -> list[str]:
    """Return the datasets of streams, sorted, whatever label set of them is used.

    Generated ones are named with their seed: another seed gives other data.
    """
    names = set()
    for stream in streams:
        prefix = f"synthetic {stream.provenance['seed']}: " if stream.name == "synthetic" else ""
        names |= {prefix + task.dataset.partition("/")[0] for task in stream.tasks}
    return sorted(names)


def read_tuned(path: Path) -> Tuned:
    """Read what ``bmc-stream tune`` wrote; its values must be ones that a method could take."""
    wrong = (
        f"--tuned {path}: expected the tune.json that `bmc-stream tune` wrote, but {{}}; nothing "
        "was run."
    )
    try:
        tuned = Tuned.model_validate(read_json(path))
    except FileNotFoundError:
        raise UsageError(wrong.format("there is none")) from None
    except OSError as error:  # a folder, or a file that may not be read
        raise UsageError(wrong.format(refusal(error).why)) from None
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "the whole"
        raise UsageError(wrong.format(f"in {where}: {first['msg']}")) from None
    except BrokenSealError as error:
        raise UsageError(wrong.format(error)) from None
    except ValueError as error:
        raise UsageError(wrong.format(f"it is not JSON: {error}")) from None
    for method, values in tuned.chosen.items():
        for name, value in values.items():
            text = str(value).lower() if isinstance(value, bool) else str(value)
            if parse_grid(f"{method}.{name}={text}")[1] != [value] and value != ALL:
                raise UsageError(wrong.format(f"{name} is {value!r}"))
    return tuned


def check_disjoint(tuned: Tuned, streams: Iterable[Stream], path: Path) -> None:
    """Check that nothing is compared on datasets on which its values were chosen."""
    both = sorted(set(tuned.datasets) & set(datasets_of(streams)))
    if both:
        raise UsageError(
            f"--tuned {path} was tuned on datasets of this stream: {', '.join(both)}; expected "
            "others, since values chosen on a dataset flatter the methods on it. Nothing was "
            "run. Compare on other datasets, or tune on others."
        )
