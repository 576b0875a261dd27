"""Hyper-parameters chosen on some datasets, for use on others; what ``tuned.json`` holds.

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
from bmc.studies.grid import ALL, Cell, Change, parse_grid, plan_cells, uses

if TYPE_CHECKING:
    from autods.streams.stream import Stream
    from bmc.report.load import Run

# Fields that say what is compared or how it is measured: the best value is no hyper-parameter.
FIXED = frozenset({"memory", "seed", "evaluate_on", "outputs", "precision", "capture"})


class Measured(BaseModel):
    """One combination of one method.

    Attributes
    ----------
    by_order
        Accuracy (a fraction) in each order, mean over run seeds.
    low, high
        95 % interval of the mean over orders; ``None`` for one order.
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
    chosen: dict[str, Change]
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
    cells: tuple[Cell, ...]


def candidates(
    methods: Sequence[str],
    config: Config,
    changes: Sequence[Change],
    seeds: Sequence[int],
    tasks: Mapping[str | int, int],
    overrides: Overrides,
) -> list[Candidate]:
    """Return the combinations of each method; of a grid it gets the fields that it reads.

    Raises
    ------
    UsageError
        When no method reads a field, a value is outside its range, or the field is none that
        may be chosen by its accuracy.
    """
    for name in dict.fromkeys(key for change in changes for key in change):
        if name.rpartition(".")[2] in FIXED:
            raise UsageError(
                f"--grid {name}=...: expected a hyper-parameter; {name} says what is compared or "
                "how it is measured, and is the same for all. Nothing was run. Leave it out."
            )
    plan_cells(methods, config, changes, tasks)  # refuses what no method reads
    found: dict[tuple[str, str], Candidate] = {}
    for method in methods:
        for change in changes:
            used = {key: value for key, value in change.items() if uses(method, key)}
            seeded = [{**used, "seed": seed} for seed in seeds]
            cells = tuple(plan_cells([method], config, seeded, tasks, overrides=overrides))
            values = overrides.get(method, {}) | {
                key.rpartition(".")[2]: value for key, value in used.items()
            }
            found.setdefault((method, repr(values)), Candidate(method, values, cells))
    return list(found.values())


def choose(
    made: Sequence[Candidate],
    config: Config,
    runs: Mapping[str, Run],
    streams: Mapping[str | int, Stream],
) -> Tuned:
    """Choose each method's best combination: of equals the first.

    Parameters
    ----------
    config
        What the combinations are changes of.
    runs
        Finished runs by the name of their cell; all are there.
    """
    table = [_measured(candidate, runs) for candidate in made]
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
    for cell in candidate.cells:
        run = runs[cell.name]
        accuracy = run.metrics[run.scenario]["final_mean"]
        if accuracy is None:
            raise UsageError(
                f"{run.folder}: expected an accuracy on the development split, got none; nothing "
                "was chosen. Tune on datasets that have development samples."
            )
        orders.setdefault(str(cell.order), []).append(accuracy)
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
    found = set()
    for stream in streams:
        made = f"synthetic {stream.provenance['seed']}: " if stream.name == "synthetic" else ""
        found |= {made + task.dataset.partition("/")[0] for task in stream.tasks}
    return sorted(found)


def read_tuned(path: Path) -> Tuned:
    """Read what ``bmc-stream tune`` wrote.

    Raises
    ------
    UsageError
        When the file is missing, is no such file, or has values that no method could take.
    """
    wrong = (
        f"--tuned {path}: expected a file that `bmc-stream tune` wrote, but {{}}; nothing was run."
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
    """Check that nothing is compared on datasets on which its values were chosen.

    Raises
    ------
    UsageError
        With the datasets that both have.
    """
    both = sorted(set(tuned.datasets) & set(datasets_of(streams)))
    if both:
        raise UsageError(
            f"--tuned {path} was tuned on datasets of this stream: {', '.join(both)}; expected "
            "others, since values chosen on a dataset flatter the methods on it. Nothing was "
            "run. Compare on other datasets, or tune on others."
        )
