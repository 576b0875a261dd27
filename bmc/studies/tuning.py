"""Hyper-parameters chosen on some datasets, for use on others; what ``tune.json`` holds.

Every method gets the combination of a grid with the best mean over orders, measured on the
development split of the datasets tuned on. A comparison that uses the choice must be on other
datasets.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from autods.errors import UsageError
from bmc.config import Config, Overrides
from bmc.report.statistics import interval
from bmc.runs.orders import Order
from bmc.studies.plan import ALL, Change, PlannedRun, parse_grid

if TYPE_CHECKING:
    from autods.streams.stream import Stream
    from bmc.report.finished import Run


class Measured(BaseModel):
    """One combination of one method.

    ``by_order`` is the accuracy (a fraction) in each order, mean over run seeds; ``low`` and
    ``high`` bound the 95 % interval of the mean over orders (``None`` for one order).
    """

    method: str
    values: Change
    mean: float
    low: float | None
    high: float | None
    by_order: dict[str, float]
    chosen: bool = False


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


@dataclass(frozen=True)
class Candidate:
    """A combination of values for one method, and the runs that measure it."""

    method: str
    values: Change
    runs: tuple[PlannedRun, ...]


def choose(
    candidates: Sequence[Candidate],
    config: Config,
    runs: Mapping[str, Run],
    streams: Mapping[Order, Stream],
) -> Tuned:
    """Choose each method's best combination: of equals the first.

    The combinations are changes of ``config``; ``runs`` has all planned runs by label.
    """
    table = [_measured(candidate, runs) for candidate in candidates]
    best: dict[str, Measured] = {}
    for row in table:
        if row.method not in best or row.mean > best[row.method].mean:
            best[row.method] = row
    run = next(iter(runs.values()))
    return Tuned(
        chosen={method: row.values for method, row in best.items()},
        datasets=datasets_of(streams.values()),
        stream=run.stream,
        scenario=run.scenario,
        protocol=run.protocol,
        encoder=run.encoder,
        orders=[str(order) for order in streams],
        seeds=sorted({run.run_seed for run in runs.values()}),
        table=[row.model_copy(update={"chosen": best[row.method] is row}) for row in table],
        config=config.as_dict(),
        versions=run.versions,
    )


def _measured(candidate: Candidate, runs: Mapping[str, Run]) -> Measured:
    orders: dict[str, list[float]] = {}
    for planned in candidate.runs:
        run = runs[planned.label]
        accuracy = run.metrics[run.scenario]["final_mean"]
        if accuracy is None:
            raise UsageError(
                f"{run.folder}: expected an accuracy on the development split, got none; nothing "
                "was chosen. Tune on datasets that have development samples."
            )
        orders.setdefault(str(planned.order), []).append(accuracy)
    means = {order: fmean(values) for order, values in orders.items()}
    low, high = interval(list(means.values())) or (None, None)
    return Measured(
        method=candidate.method,
        values=candidate.values,
        mean=fmean(means.values()),
        low=low,
        high=high,
        by_order=means,
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
        tuned = Tuned.model_validate(json.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError:
        raise UsageError(wrong.format("there is none")) from None
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "the whole"
        raise UsageError(wrong.format(f"in {where}: {first['msg']}")) from None
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
