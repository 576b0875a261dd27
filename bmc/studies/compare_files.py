"""A comparison as files: ``compare.json``, and a table for LaTeX with its caption."""

from __future__ import annotations

from typing import Any

from bmc.report.resampling import CONFIDENCE
from bmc.report.table import escaped
from bmc.studies.compare_table import P_ORDERS, Comparison, compare_table, tuned_note


def compare_json(comparison: Comparison) -> dict[str, Any]:
    """Return the content of ``compare.json``: the table, and the values of every run."""
    first, tuned = comparison.runs[0], comparison.tuned
    return {
        "format": 2,
        "stream": first.stream,
        "scenario": first.scenario,
        "protocol": first.protocol,
        "encoder": first.encoder,
        "metric": "final_mean",
        "confidence": CONFIDENCE,
        "orders": comparison.orders,
        "seeds": comparison.seeds,
        "settings": comparison.settings,
        "tuned": tuned and tuned.model_dump(include={"datasets", "stream", "encoder", "chosen"}),
        "notes": comparison.notes(),
        "left_out": list(comparison.left_out),
        "failed": dict(comparison.failed),
        "rows": compare_table(comparison).records(),
        "runs": [
            {"run": run.folder}
            | run.model_dump(include={"method", "order_seed", "run_seed", "metrics", "costs"})
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
    orders = len(comparison.orders)
    classes = sum(task.classes for task in first.tasks)
    memory = comparison.settings.get("memory")
    measured = (
        f"Final mean accuracy on the stream {first.stream} ({len(first.tasks)} tasks, {classes:,} "
        f"classes, protocol {first.protocol}"
        + (f", features by {first.encoder}" if first.encoder else "")
        + (f"), {orders} orders" if orders > 1 else "), one order")
        + f" of the tasks{comparison.averaged}"
        + (f"; memory of {memory:,} samples" if memory is not None else "")
        + "."
    )
    rows = comparison.rows[comparison.scenario]
    if any(row.samples for row in rows):
        measured += (
            " Mean and half of its 95 % interval over test samples (bootstrap within tasks); "
            "p (samples): by random signs of the test samples' differences to the best (Holm)."
        )
    if orders > 1:
        measured += " sd (orders): standard deviation over orders."
        if any(row.orders.p is not None for row in rows):
            measured += f" {P_ORDERS}, where both methods depend on the order."
    text = escaped(measured) + r" \textbf{Bold}: best"
    if any(row.verdict == "not told apart" for row in rows):
        text += r"; $^{\ast}$: not significantly worse (5\,\%)"
    text += "."
    if any(g.reference for g in comparison.groups):
        text += r" $^{\dagger}$: sees all data at once, a reference."
    if comparison.tuned is not None:
        text += " " + escaped(tuned_note(comparison.tuned).capitalize()) + "."
    if first.caution:
        text += " " + escaped(first.caution)
    return text
