"""What a comparison gave: means with intervals, tests, costs, and what a reader must know."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

from bmc.report.columns import MISSING, PERCENT, final_key
from bmc.report.groups import Group, group
from bmc.report.load import Run
from bmc.report.statistics import CONFIDENCE, Row, compare_groups
from bmc.report.table import (
    NOTE,
    REFERENCE_NOTE,
    Mark,
    Shown,
    Table,
    escaped,
    results_table,
)

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
NAMED = 12  # datasets that a note lists; compare.json has all


@dataclass(frozen=True)
class Comparison:
    """Finished runs of several methods, and what a reader must know of them.

    Attributes
    ----------
    left_out
        A line about each method that does not fit the stream.
    failed
        Why a run failed, by its name.
    """

    runs: tuple[Run, ...]
    left_out: tuple[str, ...] = ()
    failed: tuple[tuple[str, str], ...] = ()
    tuned: Tuned | None = None

    @cached_property
    def groups(self) -> list[Group]:
        """Best first, references last."""
        return group(self.runs)

    @property
    def scenario(self) -> str:
        """The one that ranks."""
        return self.runs[0].scenario

    @cached_property
    def rows(self) -> dict[str, list[Row]]:
        """By scenario, one row for each group."""
        return {name: compare_groups(self.groups, name) for name in SCENARIOS}

    @property
    def orders(self) -> dict[str, list[str]]:
        """Names of tasks by order."""
        ordered = sorted(
            self.runs, key=lambda run: -1 if run.order_seed is None else run.order_seed
        )
        return {
            "paper" if run.order_seed is None else str(run.order_seed): [t.name for t in run.tasks]
            for run in ordered
        }

    @property
    def seeds(self) -> list[int]:
        """Run seeds."""
        return sorted({run.run_seed for run in self.runs})

    @property
    def settings(self) -> dict[str, Any]:
        """The values of `SHARED` that all runs share."""
        told = {}
        for field in SHARED:
            values = [run.config.get(field) for run in self.runs]
            if values[0] is not None and all(value == values[0] for value in values):
                told[field] = values[0]
        return told

    def notes(self) -> list[str]:
        """Return the sentences without which the numbers would mislead."""
        return [
            *self._statistics(),
            *self._budget(),
            *([REFERENCE_NOTE] if any(g.reference for g in self.groups) else []),
            *([caution] if (caution := self.runs[0].caution) else []),
            *self.left_out,
            *self._incomplete(),
        ]

    def report_notes(self) -> list[str]:
        """Return those of the notes that the report would not say by itself."""
        told = [*self._budget(), *self.left_out, *self._incomplete()]
        return [note[0].upper() + note[1:] + ("" if note.endswith(".") else ".") for note in told]

    def _statistics(self) -> list[str]:
        n = len(self.orders)
        seeds = f", {len(self.seeds)} run seeds averaged in each" if len(self.seeds) > 1 else ""
        if n == 1:
            return [f"one order of the tasks{seeds}: no interval and no test"]
        return [
            f"± half of the 95 % interval over {n} orders of the tasks (Student's t){seeds}",
            "difference to the best, paired by order and seed; p of the paired t-test, adjusted "
            "for the number of tests (Holm)",
            "intervals and tests tell how results vary with the order, not with the test samples",
        ]

    def _budget(self) -> list[str]:
        equal = ", ".join(f"{SHARED[field]} {value:g}" for field, value in self.settings.items())
        if self.tuned is None:
            return [f"the same for all: {equal}; what only some methods have is not tuned"]
        told = []
        for method in sorted({run.method for run in self.runs}):
            values = self.tuned.chosen.get(method)
            named = ", ".join(f"{field} {value}" for field, value in (values or {}).items())
            told.append(f"{method} " + (named or "nothing"))
        return [f"the same for all: {equal}; tuned: {'; '.join(told)}", tuned_note(self.tuned)]

    def _incomplete(self) -> list[str]:
        if not self.failed:
            return []
        behind = ", ".join(f"{g.label} {len(g.runs)}" for g in self.groups)
        return [
            f"{len(self.failed)} runs failed: {', '.join(name for name, _ in self.failed)}; "
            f"finished runs: {behind}"
        ]


def tuned_note(tuned: Tuned) -> str:
    """Say on what values were chosen."""
    names = tuned.datasets
    shown = ", ".join(names[:NAMED]) + (f" and {len(names) - NAMED} more" * (len(names) > NAMED))
    return f"values were tuned on the development split of other datasets: {shown}"


def compare_table(comparison: Comparison) -> Table:
    """Return the table: accuracies with intervals, the difference to the best, p values, costs.

    Of the final mean accuracy in each scenario, the frame has what
    `bmc.report.statistics.Row` has: ``class_il_n``, ``_mean`` (over orders), ``_low``, ``_high``,
    ``_best``, ``_difference``, ``_p`` and ``_pairs``.
    """
    values = {
        f"{final_key(scenario)}_{field}": [getattr(row, field) for row in rows]
        for scenario, rows in comparison.rows.items()
        for field in ("n", "mean", "low", "high", "best", "difference", "p", "pairs")
    }
    table = results_table(comparison.groups, "compare", values=values)
    shown = dict(table.shown)
    for scenario, rows in comparison.rows.items():
        if (key := final_key(scenario)) in shown:
            shown[key] = _tested(shown[key], rows)
    own = final_key(comparison.scenario)
    finals = [key for key in (own, *map(final_key, SCENARIOS)) if key in shown]
    columns = {key: shown.pop(key) for key in dict.fromkeys(finals)}
    columns |= _tests(own, comparison.rows[comparison.scenario])
    notes = [NOTE] * (NOTE in table.notes) + comparison.notes()
    return replace(table, shown=columns | shown, notes=notes)


def _tested(shown: Shown, rows: Sequence[Row]) -> Shown:
    """Put intervals into the column of an accuracy, and mark what ties with the best."""
    marks: list[Mark] = [
        "tied" if mark == "" and row.tied and not row.group.reference else mark
        for mark, row in zip(shown.marks, rows, strict=True)
    ]
    return replace(
        shown, texts=[PERCENT.text(row.mean, row.half_width) for row in rows], marks=marks
    )


def _tests(key: str, rows: Sequence[Row]) -> dict[str, Shown]:
    """Return the columns of the difference to the best and of its p value."""
    plain: list[Mark] = [""] * len(rows)
    return {
        f"{key}_difference": Shown(
            "difference to the best", "vs best", "", list(map(_signed, rows)), plain, 1
        ),
        f"{key}_p": Shown("p", "", "", list(map(_probability, rows)), plain, 2),
    }


def _signed(row: Row) -> str:
    """Format the difference to the best in points; the best is called so."""
    if row.best or row.difference is None:
        return "best" if row.best else MISSING
    text = f"{100 * row.difference:+.1f}"
    return "0.0" if text in ("+0.0", "-0.0") else text


def _probability(row: Row) -> str:
    """Format p; empty for the best."""
    if row.p is None:
        return "" if row.best else MISSING
    return "<0.001" if row.p < 0.001 else f"{row.p:.3f}"


def compare_json(comparison: Comparison) -> dict[str, Any]:
    """Return all that stands in ``compare.json``: rows, and the values of every run."""
    first, tuned = comparison.runs[0], comparison.tuned
    return {
        "format": 1,
        "stream": first.stream,
        "scenario": first.scenario,
        "protocol": first.protocol,
        "encoder": first.encoder,
        "metric": "final_mean",
        "confidence": CONFIDENCE,
        "orders": comparison.orders,
        "seeds": comparison.seeds,
        "settings": comparison.settings,
        "tuned": None
        if tuned is None
        else {"datasets": tuned.datasets, "stream": tuned.stream, "encoder": tuned.encoder,
              "chosen": tuned.chosen},
        "notes": comparison.notes(),
        "left_out": list(comparison.left_out),
        "failed": dict(comparison.failed),
        "rows": compare_table(comparison).records(),
        "runs": [
            {
                "run": run.folder,
                "method": run.method,
                "order_seed": run.order_seed,
                "run_seed": run.run_seed,
                "metrics": run.metrics,
                "costs": run.costs.model_dump(),
            }
            for run in sorted(comparison.runs, key=lambda run: run.folder)
        ],
        "device": first.device,
        "versions": first.versions,
    }  # fmt: skip


def compare_tex(comparison: Comparison) -> str:
    r"""Return the table for LaTeX: ``\input`` it; needs the package booktabs."""
    return compare_table(comparison).latex(_caption(comparison))


def _caption(comparison: Comparison) -> str:
    """Say what was measured, how, and what the marks mean."""
    first = comparison.runs[0]
    orders, seeds = len(comparison.orders), len(comparison.seeds)
    classes = sum(task.classes for task in first.tasks)
    repeats = f"{orders} orders of the tasks" if orders > 1 else "one order of the tasks"
    repeats += f", {seeds} run seeds averaged in each" if seeds > 1 else ""
    memory = comparison.settings.get("memory")
    parts = [
        f"Final mean accuracy on the stream {first.stream} ({len(first.tasks)} tasks, {classes:,} "
        f"classes, protocol {first.protocol}"
        + (f", features by {first.encoder}" if first.encoder else "")
        + f"), {repeats}"
        + (f"; memory of {memory:,} samples" if memory is not None else "")
        + ".",
    ]
    if orders > 1:
        parts.append(
            "Mean and half of its 95 % interval over orders (Student's t); difference to the "
            "best and p of the paired t-test (Holm)."
        )
    text = escaped(" ".join(parts)) + r" \textbf{Bold}: best"
    if any(row.tied for row in comparison.rows[comparison.scenario]):
        text += r"; $^{\ast}$: not significantly worse (5\,\%)"
    text += "."
    if any(g.reference for g in comparison.groups):
        text += r" $^{\dagger}$: sees all data at once, a reference."
    if comparison.tuned is not None:
        text += " " + escaped(tuned_note(comparison.tuned).capitalize()) + "."
    if first.caution:
        text += " " + escaped(first.caution)
    return text
