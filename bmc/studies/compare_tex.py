r"""The table of a comparison for LaTeX: ``\input`` it; needs the package booktabs."""

from __future__ import annotations

from bmc.report.columns import MISSING
from bmc.report.statistics import Row
from bmc.studies.compare_table import (
    Comparison,
    cost_texts,
    percent,
    probability,
    signed,
    tuned_note,
)

SPECIAL = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_",
    "{": r"\{", "}": r"\}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}",
}  # fmt: skip
REFERENCE = r"$^{\dagger}$"
TIED = r"^{\ast}"


def escaped(text: str) -> str:
    """Return text with what LaTeX would read as a command escaped."""
    return "".join(SPECIAL.get(character, character) for character in text)


def compare_tex(comparison: Comparison) -> str:
    """Return a ``table`` environment: best in bold, what the test cannot tell from it marked."""
    costs = [
        (f"{head.replace(chr(10), ' ')} ({sign})" if sign else head, texts)
        for head, sign, texts in cost_texts(comparison)
    ]
    first, second = sorted(comparison.rows, key=lambda name: name != comparison.scenario)
    heads = ["method", f"{first} (%)", f"{second} (%)", "difference", "$p$"]
    heads += [escaped(head) for head, _ in costs]
    lines = [
        r"\begin{table}",
        r"\centering",
        rf"\caption{{{_caption(comparison)}}}",
        rf"\begin{{tabular}}{{l{'r' * (len(heads) - 1)}}}",
        r"\toprule",
        " & ".join(heads) + r" \\",
        r"\midrule",
    ]
    parted = False
    for k, g in enumerate(comparison.groups):
        if g.reference and not parted and k:
            parted = True
            lines.append(r"\midrule")
        row, other = comparison.rows[first][k], comparison.rows[second][k]
        cells = [
            escaped(g.label) + (REFERENCE if g.reference else ""),
            _marked(row),
            _math(percent(other, r" \pm ")),
            "best" if row.best else _math(signed(row)),
            probability(row).replace("<0.001", "$<$0.001"),
            *(escaped(texts[k]) for _, texts in costs),
        ]
        lines.append(" & ".join(cells) + r" \\")
    lines += [r"\bottomrule", r"\end{tabular}", r"\end{table}"]
    return "\n".join(lines) + "\n"


def _math(text: str) -> str:
    return text if text in ("", MISSING) else f"${text}$"


def _marked(row: Row) -> str:
    text = percent(row, r" \pm ")
    if row.best:
        return rf"$\mathbf{{{text}}}$"
    return _math(text + (TIED if row.tied and not row.group.reference else ""))


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
        text += rf"; ${TIED}$: not significantly worse (5\,\%)"
    text += "."
    if any(g.reference for g in comparison.groups):
        text += rf" {REFERENCE}: sees all data at once, a reference."
    if comparison.tuned is not None:
        text += " " + escaped(tuned_note(comparison.tuned).capitalize()) + "."
    if first.caution:
        text += " " + escaped(first.caution)
    return text
