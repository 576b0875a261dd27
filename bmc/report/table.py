"""The results table: one pandas frame, printed to fit the terminal, or as CSV, JSON and LaTeX."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

from autods.core import tables
from bmc.report.columns import COLUMNS, PERCENT, Column, TableName, final_key
from bmc.report.finished import Run
from bmc.report.groups import Group
from bmc.report.load import shared_note

if TYPE_CHECKING:
    from pandas import DataFrame

REFERENCE = " †"
NOTE = "* best of its column"
REFERENCE_NOTE = "† sees all data at once: a reference, not ranked"
SPECIAL = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_",
    "{": r"\{", "}": r"\}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}",
}  # fmt: skip

Mark = Literal["best", "tied", ""]


@dataclass(frozen=True)
class Shown:
    """A column as people read it, with a text (``mean±spread`` or ``mean``) for each group.

    ``sign`` is the unit. A mark says that a value is the ``best`` of its column, or ``tied``: no
    test can tell it from the best. The rest is as of `bmc.report.columns.Column`.
    """

    header: str
    short: str
    sign: str
    texts: Sequence[str]
    marks: Sequence[Mark]
    priority: int


@dataclass(frozen=True, repr=False)
class Table:
    """A row for each group of runs.

    ``frame`` has every number at full precision, ``shown`` the columns for people by key. The
    ``names`` of the rows carry marks that the notes explain; ``head`` is their header.
    """

    groups: Sequence[Group]
    frame: DataFrame
    shown: Mapping[str, Shown]
    notes: Sequence[str]
    names: Sequence[str]
    head: str = "method"

    def __repr__(self) -> str:
        return f"Table of {', '.join(self.names)}"

    def csv(self) -> str:
        """Return the frame as CSV; empty where unknown."""
        text: str = self.frame.to_csv(index=False, lineterminator="\n", float_format=_number)
        return text

    def records(self) -> list[dict[str, Any]]:
        """Return the frame as one dictionary for each row; ``None`` where unknown."""
        plain = self.frame.astype(object)
        rows: list[dict[str, Any]] = plain.where(self.frame.notna(), None).to_dict("records")
        return rows

    def rows(self) -> list[tuple[Group, list[tuple[str, Mark]]]]:
        """Return each group with the texts and marks of its cells, for a page."""
        columns = [
            [(text.replace("±", " ± "), mark) for text, mark in zip(c.texts, c.marks, strict=True)]
            for c in self.shown.values()
        ]
        return [(g, [column[k] for column in columns]) for k, g in enumerate(self.groups)]

    def print(self, more: str, title: str = "") -> None:
        """Print the columns that fit the terminal; ``more`` is the file that holds all."""
        columns = [tables.Column(self.head, self.names, name=True)]
        for c in self.shown.values():
            bold = [mark == "best" for mark in c.marks]
            stars = ["*" if best else " " * any(bold) for best in bold]
            texts = [text + star for text, star in zip(c.texts, stars, strict=True)]
            columns.append(
                tables.Column(
                    f"{c.short or c.header}\n{c.sign}", texts,
                    bold=bold, number=True, priority=c.priority, title=c.header,
                )
            )  # fmt: skip
        tables.print_columns(columns, title=title, notes=self.notes, more=more)

    def html(self) -> str:
        """Return the columns for people as an HTML table, and the notes below it."""
        from html import escape

        from pandas import DataFrame

        heads = [f"{c.header} ({c.sign})".removesuffix(" ()") for c in self.shown.values()]
        texts = zip(self.names, *(c.texts for c in self.shown.values()), strict=True)
        frame = DataFrame(texts, columns=[self.head, *heads])
        table: str = frame.to_html(index=False, border=0)
        return table + "".join(f"<p>{escape(note)}</p>" for note in self.notes)

    _repr_html_ = html  # notebooks show it

    def latex(self, caption: str) -> str:
        r"""Return a ``table`` environment (booktabs): best in bold, tied ones with an asterisk.

        The caption is LaTeX; see `escaped`.
        """
        from pandas import DataFrame

        columns = list(self.shown.values())
        headers = [f"{c.short or c.header} ({c.sign})".removesuffix(" ()") for c in columns]
        names = [escaped(g.label) + r"$^{\dagger}$" * g.reference for g in self.groups]
        texts = [
            [name, *(_math(c.texts[k], c.marks[k]) for c in columns)]
            for k, name in enumerate(names)
        ]
        frame = DataFrame(texts, columns=[escaped(head) for head in (self.head, *headers)])
        text: str = frame.style.hide(axis="index").to_latex(
            hrules=True, position_float="centering", caption=caption,
            column_format="l" + "r" * len(headers),
        )  # fmt: skip
        references = [k for k, g in enumerate(self.groups) if g.reference]
        lines = text.rstrip("\n").split("\n")  # a name may hold other ends of lines
        if references and references[0]:
            lines.insert(lines.index(r"\midrule") + 1 + references[0], r"\midrule")
        return "\n".join(lines) + "\n"


def results_table(
    groups: Sequence[Group],
    name: TableName | None = "run",
    *,
    values: Mapping[str, Sequence[Any]] | None = None,
) -> Table:
    """Return the table of some groups.

    People see the columns of the short table ``name``, or all, with all deviations (``None``).
    ``values`` are further columns of the frame by key; they replace others.
    """
    shown = {
        column.key: made
        for column in COLUMNS
        if (name is None or name in column.tables)
        and (made := _shown(column, groups, plain=name is not None and column.unit is not PERCENT))
    }
    own = final_key(groups[0].first.scenario)
    if own in shown:
        shown[own] = replace(shown[own], priority=0)
    best = any("best" in column.marks for column in shown.values())
    notes = [
        groups[0].first.caution or "",
        NOTE if best else "",
        REFERENCE_NOTE if any(g.reference for g in groups) else "",
        repeats(groups),
        shared_note([run for g in groups for run in g.runs]) if name in (None, "run") else "",
    ]
    frame = _frame(groups, values or {})
    names = [group_name(g) for g in groups]
    return Table(groups, frame, shown, [note for note in notes if note], names)


def group_name(g: Group) -> str:
    """Return the label with the reference mark."""
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


def matrix_csv(run: Run, scenario: str) -> str:
    """Return R as CSV: a row for each evaluation, a column for each task, empty if not learned."""
    from pandas import DataFrame

    frame = DataFrame(run.R[scenario], columns=[task.name for task in run.tasks], dtype=float)
    frame.insert(0, "tasks_learned", run.learned)
    text: str = frame.to_csv(index=False, lineterminator="\n", float_format="%.6g")
    return text


def escaped(text: str) -> str:
    """Return text with what LaTeX would read as a command escaped."""
    return "".join(SPECIAL.get(character, character) for character in text)


def _frame(groups: Sequence[Group], values: Mapping[str, Sequence[Any]]) -> DataFrame:
    from pandas import DataFrame, Series

    columns: dict[str, Any] = {
        "method": [g.first.method for g in groups],
        "label": [g.label for g in groups],
        "reference": [g.reference for g in groups],
        "runs": [len(g.runs) for g in groups],
    }
    for key, given in values.items():
        column = Series(given)
        # whole numbers stay whole where one is unknown
        columns[key] = column.convert_dtypes() if column.dtype == float else column
    for declared in COLUMNS:
        stats = [declared.stat(g) for g in groups]
        for field in ("mean", "sd"):
            known = [getattr(stat, field, None) for stat in stats]
            columns.setdefault(f"{declared.key}_{field}", Series(known, dtype=float))
    return DataFrame(columns)


def _shown(column: Column, groups: Sequence[Group], plain: bool) -> Shown | None:
    """Return a column as text, ``plain`` without deviations; ``None`` if no run knows it.

    Means that print like the best are best, too. References do not compete.
    """
    stats = [column.stat(g) for g in groups]
    if not any(stats):
        return None
    means = [column.unit.text(stat.mean if stat else None) for stat in stats]
    texts = [
        mean if stat is None or plain else column.unit.text(stat.mean, stat.sd or None)
        for mean, stat in zip(means, stats, strict=True)
    ]
    ranked = [
        (stat.mean, mean)
        for g, stat, mean in zip(groups, stats, means, strict=True)
        if stat is not None and not g.reference
    ]
    best = None
    if column.best is not None and len(ranked) > 1:
        best = (max if column.best == "max" else min)(ranked)[1]
    marks: list[Mark] = [
        "best" if mean == best and not g.reference else ""
        for g, mean in zip(groups, means, strict=True)
    ]
    return Shown(column.header, column.short, column.unit.sign, texts, marks, column.priority)


def _number(value: float) -> str:
    """Write a number at full precision, a whole one without a point."""
    return f"{value:.0f}" if value == int(value) else repr(float(value))


def _math(text: str, mark: Mark) -> str:
    """Write a cell as LaTeX."""
    formula = escaped(text).replace("±", r" \pm ")
    if mark == "best":
        return rf"$\mathbf{{{formula}}}$"
    if mark == "tied":
        return rf"${formula}^{{\ast}}$"
    return f"${formula}$" if text[:1] in ("-", "+", "<") or "±" in text else formula
