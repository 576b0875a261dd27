"""The results table: for the terminal (rich), for the page and as CSV."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, NamedTuple

from bmc.report.groups import Group, Stat, group, summarise
from bmc.report.load import Costs, Run
from bmc.report.relations import shared_note

if TYPE_CHECKING:
    from rich.table import Table

Best = Literal["max", "min"] | None

MB = 1e-6  # megabytes per byte
MISSING = "n/a"
REFERENCE = " †"
NOTE = "* best of its column"
REFERENCE_NOTE = "† sees all data at once: a reference, not ranked"


class Unit(NamedTuple):
    """A unit for readers: its sign, the factor from the stored value, decimals shown."""

    sign: str
    scale: float
    decimals: int


PERCENT = Unit("%", 100, 1)
MEGABYTES = Unit("MB", MB, 2)


@dataclass(frozen=True)
class Column:
    """One column of the results table.

    Attributes
    ----------
    key
        Name in CSV, where values stand as stored: fractions, bytes, seconds.
    head
        Name for readers.
    best
        Whether the largest or the smallest value is marked, or none.
    cost
        Whether it is a cost; narrow tables show the mean of a cost only.
    """

    key: str
    head: str
    unit: Unit
    value: Callable[[Group], Stat | None]
    best: Best = None
    cost: bool = False

    def text(self, stat: Stat | None, gap: str = " ") -> str:
        """Format mean ± deviation in the column's unit."""
        if stat is None:
            return MISSING
        _, scale, decimals = self.unit
        mean = f"{stat.mean * scale:,.{decimals}f}"
        if mean.lstrip("-0.") == "":
            mean = mean.lstrip("-")
        if stat.sd is None or stat.sd == 0:  # bytes are the same in every repeat
            return mean
        return f"{mean}{gap}±{gap}{stat.sd * scale:,.{decimals}f}"


class Cell(NamedTuple):
    """The text of a cell and whether it is the best of its column."""

    text: str
    best: bool


def _accuracy(scenario: str, name: str, head: str, best: Best = "max") -> Column:
    key = f"{scenario.replace('-', '_')}_{name}"
    return Column(key, head, PERCENT, lambda g: g.metric(scenario, name), best)


def _cost(
    key: str, head: str, unit: Unit, value: Callable[[Costs], float | None], best: Best = None
) -> Column:
    def of_group(g: Group) -> Stat | None:
        return summarise(value(run.costs) for run in g.runs)

    return Column(key, head, unit, of_group, best, cost=True)


COLUMNS = [
    _accuracy("class-il", "final_mean", "class-il final mean"),
    _accuracy("task-il", "final_mean", "task-il final mean"),
    _accuracy("class-il", "dataset_id", "right dataset"),
    _accuracy("class-il", "within_dataset", "class within dataset"),
    _accuracy("class-il", "average_incremental_shared", "average incremental"),
    _accuracy("class-il", "forgetting_chaudhry", "forgetting", "min"),
    _accuracy("class-il", "final_micro", "class-il final micro"),
    _accuracy("class-il", "bwt_gem", "backward transfer"),
    _accuracy("class-il", "learning_accuracy", "learning accuracy"),
    _accuracy("class-il", "worst_task", "worst task"),
    _accuracy("class-il", "intransigence", "intransigence", "min"),
    _accuracy("task-il", "forgetting_chaudhry", "task-il forgetting", "min"),
    _accuracy("task-il", "intransigence", "task-il intransigence", "min"),
    _accuracy("task-il", "fwt_gem", "task-il forward transfer"),
    _cost("memory_bytes", "memory", MEGABYTES, lambda c: c.memory_bytes),
    _cost("communication_bytes", "sent", MEGABYTES, lambda c: c.communication_bytes),
    _cost("total_bytes", "total cost", MEGABYTES, lambda c: c.total_bytes),
    _cost("cost_accuracy", "cost accuracy", Unit("%/MB", 1, 2), lambda c: c.cost_accuracy),
    _cost(
        "learning_seconds", "learning time", Unit("s", 1, 1), lambda c: c.learning_seconds, "min"
    ),
    _cost("relative_time", "relative time", Unit("%", 100, 0), lambda c: c.relative_time, "min"),
    _cost(
        "total_seconds", "time with evaluation", Unit("s", 1, 1), lambda c: c.seconds.get("total")
    ),
    _cost("steps", "updates", Unit("", 1, 0), lambda c: c.steps),
    _cost(
        "peak_host_bytes",
        "peak host memory (process so far)",
        Unit("MB", MB, 0),
        lambda c: c.peak_host_bytes,
    ),
    _cost(
        "peak_device_bytes", "peak device memory", Unit("MB", MB, 0), lambda c: c.peak_device_bytes
    ),
]

# The short table: what fits 100 columns, with the heads that fit there.
SHORT = {
    "class_il_final_mean": "class-il\nmean",
    "task_il_final_mean": "task-il\nmean",
    "class_il_dataset_id": "right\ndataset",
    "class_il_average_incremental_shared": "average\nincrem.",
    "class_il_forgetting_chaudhry": "forget-\nting",
    "memory_bytes": "memory",
    "communication_bytes": "sent",
    "learning_seconds": "time",
    "relative_time": "relative\ntime",
}


def short_columns() -> list[Column]:
    """Return the columns of the short table, in its order."""
    by_key = {column.key: column for column in COLUMNS}
    return [by_key[key] for key in SHORT]


def cells(groups: Sequence[Group], column: Column, narrow: bool = False) -> list[Cell]:
    """Return one column's cells; equal to the best in print means best, too.

    ``narrow`` leaves out the spaces around ± and the deviations of costs.
    """
    stats = [column.value(g) for g in groups]
    means = [None if stat is None else column.text(Stat(stat.mean, None, 1)) for stat in stats]
    if narrow and column.cost:
        texts = [mean or MISSING for mean in means]
    else:
        texts = [column.text(stat, "" if narrow else " ") for stat in stats]
    ranked = [
        (stat.mean, mean)
        for g, stat, mean in zip(groups, stats, means, strict=True)
        if stat is not None and not g.reference
    ]
    if column.best is None or len(ranked) < 2:
        return [Cell(text, False) for text in texts]
    winner = (max if column.best == "max" else min)(ranked)[1]
    return [
        Cell(text, mean == winner and not g.reference)
        for g, text, mean in zip(groups, texts, means, strict=True)
    ]


def name(g: Group) -> str:
    """Return the label with the number of runs (when several) and the reference mark."""
    return g.label + (REFERENCE if g.reference else "")


def repeats(groups: Sequence[Group]) -> str:
    """Say how many runs stand behind each row, or nothing when all have one."""
    counts = sorted({len(g.runs) for g in groups})
    if counts == [1]:
        return ""
    if len(counts) == 1:
        return f"mean ± standard deviation of n = {counts[0]} runs"
    each = ", ".join(f"{g.label} {len(g.runs)}" for g in groups)
    return f"mean ± standard deviation; n: {each}"


def results_table(runs: Sequence[Run]) -> Table:
    """Return the short results table, readable at 100 columns without colour.

    Parameters
    ----------
    runs
        Finished runs on one stream, as read by `bmc.report.load`.
    """
    from rich.table import Table
    from rich.text import Text

    groups = group(runs)
    notes = [NOTE] if len(groups) > 1 else []
    notes += [REFERENCE_NOTE] if any(g.reference for g in groups) else []
    notes += [text] if (text := repeats(groups)) else []
    notes += [text] if (text := shared_note(runs)) else []
    table = Table(
        box=None,
        pad_edge=False,
        padding=(0, 1, 0, 0),
        header_style="bold",
        caption=Text("\n".join(notes)),
        caption_justify="left",
    )
    table.add_column("method", overflow="fold", min_width=12, vertical="bottom")
    by_column = []
    for column in short_columns():
        head = f"{SHORT[column.key]}\n{column.unit.sign} "
        table.add_column(head, justify="right", no_wrap=True, vertical="bottom")
        by_column.append(cells(groups, column, narrow=True))
    for g, row in zip(groups, zip(*by_column, strict=True), strict=True):
        texts = [Text(c.text + ("*" if c.best else " "), "bold" if c.best else "") for c in row]
        table.add_row(Text(name(g)), *texts)
    return table


def results_csv(runs: Sequence[Run]) -> str:
    """Return the full table as CSV: fractions, bytes, seconds; mean, deviation, n."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    heads = [f"{column.key}_{part}" for column in COLUMNS for part in ("mean", "sd")]
    writer.writerow(["method", "label", "runs", *heads])
    for g in group(runs):
        row: list[str | int] = [g.first.method, g.label, len(g.runs)]
        for column in COLUMNS:
            stat = column.value(g)
            for number in (stat.mean, stat.sd) if stat else (None, None):
                row.append("" if number is None else f"{number:.9g}")
        writer.writerow(row)
    return out.getvalue()


def matrix_csv(run: Run, scenario: str) -> str:
    """Return R as CSV: one row per evaluation, one column per task, empty if not learned."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(["tasks_learned", *(task.name for task in run.tasks)])
    for learned, row in zip(run.learned, run.R[scenario], strict=True):
        writer.writerow([learned, *("" if value is None else f"{value:.6g}" for value in row)])
    return out.getvalue()
