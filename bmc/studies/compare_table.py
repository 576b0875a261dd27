"""What a comparison gave, as table, CSV and JSON: means with intervals, tests, costs."""

from __future__ import annotations

import csv
import io
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from bmc.report.columns import COLUMNS, MISSING, REFERENCE_NOTE, name
from bmc.report.groups import Group, Stat, group
from bmc.report.load import Run
from bmc.report.statistics import CONFIDENCE, Row, compare_groups

if TYPE_CHECKING:
    from rich.table import Table

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
COSTS = [column for column in COLUMNS if column.cost]
OTHERS = [c for c in COLUMNS if not c.cost and not c.key.endswith("final_mean")]


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


def compare_rows(comparison: Comparison) -> list[dict[str, Any]]:
    """Return one row for each method, best first, at full precision.

    A row holds ``method``, ``label``, ``reference``, the number of ``runs``; by scenario all of
    `bmc.report.statistics.Row`; and means of the other metrics and the costs as stored: fractions,
    bytes, seconds, cost accuracy in per cent per MB. ``None`` where unknown.
    """
    made = []
    for k, g in enumerate(comparison.groups):
        row: dict[str, Any] = {
            "method": g.first.method,
            "label": g.label,
            "reference": g.reference,
            "runs": len(g.runs),
        }
        for scenario in SCENARIOS:
            own, prefix = comparison.rows[scenario][k], scenario.replace("-", "_")
            for field in ("n", "mean", "low", "high", "best", "difference", "p", "pairs"):
                row[f"{prefix}_{field}"] = getattr(own, field)
        for column in [*OTHERS, *COSTS]:
            stat = column.value(g)
            row[column.key] = stat.mean if stat else None
        made.append(row)
    return made


def compare_csv(comparison: Comparison) -> str:
    """Return `compare_rows` as CSV; empty where unknown."""
    rows = compare_rows(comparison)
    out = io.StringIO()
    writer = csv.DictWriter(out, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return out.getvalue()


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
        "rows": compare_rows(comparison),
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


def percent(row: Row, plus_minus: str = "±") -> str:
    """Format mean ± half of the interval in per cent."""
    if row.mean is None:
        return MISSING
    half = row.half_width
    return f"{100 * row.mean:.1f}" + ("" if half is None else f"{plus_minus}{100 * half:.1f}")


def signed(row: Row, minus: str = "-") -> str:
    """Format the difference to the best in points; the best is called so."""
    if row.best:
        return "best"
    if row.difference is None:
        return MISSING
    text = f"{100 * row.difference:+.1f}"
    return "0.0" if text in ("+0.0", "-0.0") else text.replace("-", minus)


def probability(row: Row) -> str:
    """Format p; empty for the best."""
    if row.p is None:
        return "" if row.best else MISSING
    return "<0.001" if row.p < 0.001 else f"{row.p:.3f}"


def cost_texts(comparison: Comparison) -> list[tuple[str, str, list[str]]]:
    """Return head, unit and texts of the costs that tables show: means, by group."""
    on_device = any(run.costs.peak_device_bytes for run in comparison.runs)
    peak = "peak_device_bytes" if on_device else "peak_host_bytes"
    heads = {
        "memory_bytes": "memory",
        "communication_bytes": "sent",
        "learning_seconds": "learn.\ntime",
        "relative_time": "rel.\ntime",
        peak: "GPU\npeak" if on_device else "peak",
    }
    by_key = {column.key: column for column in COSTS}
    texts = []
    for key, head in heads.items():
        column = by_key[key]
        stats = [column.value(g) for g in comparison.groups]
        means = [column.text(Stat(s.mean, None, 1)) if s else MISSING for s in stats]
        texts.append((head, column.unit.sign, means))
    return texts


def compare_table(comparison: Comparison) -> Table:
    """Return the table for the terminal, readable at 100 columns without colour."""
    from rich.table import Table
    from rich.text import Text

    own = comparison.scenario
    (other,) = (name for name in SCENARIOS if name != own)
    rows = comparison.rows[own]
    columns = [
        (f"{own}\nmean", "%", [percent(row) for row in rows]),
        (f"{other}\nmean", "%", [percent(row).partition("±")[0] for row in comparison.rows[other]]),
        ("differ-\nence", "", [signed(row) for row in rows]),
        ("\np", "", [probability(row) for row in rows]),
        *cost_texts(comparison),
    ]
    notes = [f"({number}) {note}" for number, note in enumerate(comparison.notes(), start=1)]
    table = Table(
        box=None, pad_edge=False, padding=(0, 1, 0, 0), header_style="bold",
        caption=Text("\n".join(notes)), caption_justify="left",
    )  # fmt: skip
    table.add_column("method", overflow="fold", min_width=12, vertical="bottom")
    for head, sign, _ in columns:
        table.add_column(f"{head}\n{sign}", justify="right", no_wrap=True, vertical="bottom")
    for k, (g, row) in enumerate(zip(comparison.groups, rows, strict=True)):
        style = "bold" if row.best else ""
        table.add_row(Text(name(g), style), *(Text(texts[k], style) for _, _, texts in columns))
    return table
