"""What a comparison gave: means with intervals, tests, costs, and what a reader must know."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

from autods.core.output import some_of
from bmc.report.columns import PERCENT, final_key
from bmc.report.finished import Run
from bmc.report.groups import Group, group, order_rank
from bmc.report.intervals import sample_notes
from bmc.report.paired import OverSamples
from bmc.report.statistics import OverOrders, Row, compare_groups
from bmc.report.table import NOTE, REFERENCE_NOTE, Mark, Shown, Table, results_table

if TYPE_CHECKING:
    from bmc.studies.tuning import Tuned

SCENARIOS = ("class-il", "task-il")
# Fields that a fair comparison holds equal, with the words for them.
SHARED = {
    "epochs": "epochs",
    "batch_size": "batch",
    "learning_rate": "learning rate",
    "weight_decay": "weight decay",
    "memory": "memory in samples",
    "replay_batch": "replayed batch",
}
# the numbers of a row in the frame, which names them after the accuracy they are about
NUMBERS = (
    "mean", "best", "difference",
    *(f"orders_{field.name}" for field in fields(OverOrders)),
    *(f"samples_{field.name}" for field in fields(OverSamples)),
)  # fmt: skip
P_ORDERS = "p (orders): paired t-test (Holm)"
NAMED = 12  # datasets that a note lists; compare.json has all


@dataclass(frozen=True)
class Comparison:
    """Finished runs of several methods, and what a reader must know of them.

    ``left_out`` has a line about each method that does not fit the stream, ``failed`` the name
    of each run that failed, and why, ``at_once`` a line about each that learns all tasks at once.
    """

    runs: tuple[Run, ...]
    left_out: tuple[str, ...] = ()
    failed: tuple[tuple[str, str], ...] = ()
    tuned: Tuned | None = None
    at_once: tuple[str, ...] = ()

    @cached_property
    def groups(self) -> list[Group]:
        """Best first, references last."""
        return group(self.runs)

    @property
    def scenario(self) -> str:
        """The scenario whose accuracy ranks the methods."""
        return self.runs[0].scenario

    @cached_property
    def rows(self) -> dict[str, list[Row]]:
        """The statistics of each group, by scenario."""
        return {name: compare_groups(self.groups, name) for name in SCENARIOS}

    @property
    def orders(self) -> dict[str, list[str]]:
        """The names of the tasks in each order."""
        return {
            "paper" if run.order_seed is None else str(run.order_seed): [t.name for t in run.tasks]
            for run in sorted(self.runs, key=order_rank)
        }

    @property
    def seeds(self) -> list[int]:
        """The run seeds, sorted."""
        return sorted({run.run_seed for run in self.runs})

    @property
    def averaged(self) -> str:
        """The number of run seeds behind each order, in words; empty for one."""
        return f", {len(self.seeds)} run seeds averaged in each" if len(self.seeds) > 1 else ""

    @property
    def settings(self) -> dict[str, Any]:
        """The values of `SHARED` that all runs share."""
        first = self.runs[0].config
        return {
            field: first[field]
            for field in SHARED
            if first.get(field) is not None
            and all(run.config.get(field) == first[field] for run in self.runs)
        }

    def notes(self) -> list[str]:
        """Return the sentences without which the numbers would mislead."""
        return [
            *self._statistics(),
            *self._budget(),
            *[REFERENCE_NOTE] * any(g.reference for g in self.groups),
            *filter(None, [self.runs[0].caution]),
            *self.left_out,
            *self.at_once,
            *self._incomplete(),
        ]

    def report_notes(self) -> list[str]:
        """Return the notes that the report does not have by itself, as sentences."""
        notes = [*self._budget(), *self.left_out, *self.at_once, *self._incomplete()]
        return [note[0].upper() + note[1:] + ("" if note.endswith(".") else ".") for note in notes]

    def _statistics(self) -> list[str]:
        rows, n = self.rows[self.scenario], len(self.orders)
        notes = []
        if any(row.samples for row in rows):
            notes += [
                "± half of the 95 % interval over test samples (bootstrap within tasks)",
                "p (samples): random signs of the test samples' differences to the best, adjusted "
                "for the number of tests (Holm)",
            ]
        if n == 1:
            notes.append(f"one order of the tasks{self.averaged}: nothing is known over orders")
        else:
            notes.append(
                f"sd (orders): standard deviation over {n} orders of the tasks{self.averaged}"
            )
            if any(row.orders.p is not None for row in rows):
                notes.append(f"{P_ORDERS}, where both methods depend on the order")
            elif any(row.best and row.group.order_free for row in rows):
                notes.append("no p over orders: the best gives the same result in any order")
        return notes + sample_notes(rows)

    def _budget(self) -> list[str]:
        equal = ", ".join(f"{SHARED[field]} {value:g}" for field, value in self.settings.items())
        if self.tuned is None:
            told = "; ".join([f"the same for all: {equal}", *self._unequal()])
            return [f"{told}; what only some methods have is not tuned"]
        tuned = []
        for method in sorted({run.method for run in self.runs}):
            values = self.tuned.chosen.get(method) or {}
            named = ", ".join(f"{field} {value}" for field, value in values.items())
            tuned.append(f"{method} " + (named or "nothing"))
        return [f"the same for all: {equal}; tuned: {'; '.join(tuned)}", tuned_note(self.tuned)]

    def _unequal(self) -> list[str]:
        """Say of each of `SHARED` that options of single methods set which values these have."""
        said = []
        for field, words in SHARED.items():
            values = {run.method: run.config.get(field) for run in self.runs}
            counted = Counter(value for value in values.values() if value is not None)
            if len(counted) > 1:
                usual = counted.most_common(1)[0][0]
                own = ", ".join(
                    f"{method} {value:g}"
                    for method, value in values.items()
                    if value not in (None, usual)
                )
                said.append(f"{words} differs: {own}, others {usual:g}")
        return said

    def _incomplete(self) -> list[str]:
        if not self.failed:
            return []
        finished = ", ".join(f"{g.label} {len(g.runs)}" for g in self.groups)
        failed = ", ".join(name for name, _ in self.failed)
        return [f"{len(self.failed)} runs failed: {failed}; finished runs: {finished}"]


def tuned_note(tuned: Tuned) -> str:
    """Say on which datasets values were chosen."""
    names = tuned.datasets
    shown = some_of(names, NAMED)
    return f"values were tuned on the development split of other datasets: {shown}"


def compare_table(comparison: Comparison) -> Table:
    """Return the table: accuracies with intervals, the difference to the best, p values, costs.

    Of the final mean accuracy in each scenario, the frame has the numbers of
    `bmc.report.statistics.Row`: ``class_il_mean`` (over orders), ``_best`` and ``_difference``,
    those of `bmc.report.statistics.OverOrders` as ``class_il_orders_...``, and those of
    `bmc.report.paired.OverSamples` as ``class_il_samples_...``.
    """
    values = {
        f"{final_key(scenario)}_{key}": [known.get(key) for known in map(_numbers, rows)]
        for scenario, rows in comparison.rows.items()
        for key in NUMBERS
    }
    table = results_table(comparison.groups, "compare", values=values)
    shown = dict(table.shown)
    for scenario, rows in comparison.rows.items():
        if (key := final_key(scenario)) in shown:
            shown[key] = _tested(shown[key], rows)
    own = final_key(comparison.scenario)
    finals = [key for key in (own, *map(final_key, SCENARIOS)) if key in shown]
    first, *others = dict.fromkeys(finals)
    columns = {first: shown.pop(first), **_tests(own, comparison.rows[comparison.scenario])}
    columns |= {key: shown.pop(key) for key in others}
    notes = [NOTE] * (NOTE in table.notes) + comparison.notes()
    return replace(table, shown=columns | shown, notes=notes)


def _numbers(row: Row) -> dict[str, Any]:
    """Return the numbers of a row by their names in the frame."""
    alone = {"mean": row.mean, "best": row.best, "difference": row.difference}
    over = {"orders": row.orders, "samples": row.samples}
    return alone | {
        f"{name}_{key}": value
        for name, of in over.items()
        if of is not None
        for key, value in asdict(of).items()
    }


def _tested(shown: Shown, rows: Sequence[Row]) -> Shown:
    """Put intervals into the column of an accuracy, and mark what ties with the best."""
    marks: list[Mark] = [
        "tied" if mark == "" and row.verdict == "not told apart" else mark
        for mark, row in zip(shown.marks, rows, strict=True)
    ]
    return replace(
        shown, texts=[PERCENT.text(row.mean, row.half_width) for row in rows], marks=marks
    )


def _tests(key: str, rows: Sequence[Row]) -> dict[str, Shown]:
    """Return the columns of what is known over orders, of the differences and their p values."""
    plain: list[Mark] = [""] * len(rows)
    columns = {}
    if any(row.orders.n > 1 for row in rows):
        texts = [PERCENT.text(row.orders.sd) for row in rows]
        columns[f"{key}_orders"] = Shown(
            "deviation over orders", "sd (orders)", "", texts, plain, 2
        )
    differences = [row.difference_text or "best" for row in rows]
    columns[f"{key}_difference"] = Shown(
        "difference to the best", "vs best", "", differences, plain, 1
    )
    for name, header, short, priority, values in (
        ("samples", "p (test samples)", "p (samples)", 2, [row.samples_p for row in rows]),
        ("orders", "p (orders)", "p (orders)", 3, [row.orders.p for row in rows]),
    ):
        if any(p is not None for p in values):
            texts = [row.p_text(p) for row, p in zip(rows, values, strict=True)]
            columns[f"{key}_{name}_p"] = Shown(header, short, "", texts, plain, priority)
    return columns
