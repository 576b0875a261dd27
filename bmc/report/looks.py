"""The look of each method: one colour, marker and dash pattern, the same in every chart.

A look belongs to the method's name and never to its rank, so a method looks the same in any two
reports. Eight colours times six markers tell 48 apart.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from bmc.report.groups import Group
from bmc.report.table import REFERENCE

# A row has a colour each; append only. Methods that are often drawn together differ in colour. Any
# other name is placed behind them by its checksum.
FAMILIAR = (
    "bmc", "er", "finetune", "slda", "derpp", "ncm", "ranpac", "icarl",
    "ridge", "gdumb", "acil", "der", "bmc-analytic", "lwf", "ewc", "fecam-shared",
    "klda", "knn", "er-ace", "agem", "fecam", "si", "mas", "gem",
    "zero-shot", "agem-r", "dmc", "fdr", "gss", "hal", "joint",
    "joint-linear", "foal", "dsal", "gkeal", "loranpac", "zero-shot-lda", "zero-shot-ncm",
    "xder", "wa", "slca", "fetril", "linear", "bmc-gaussian",
)  # fmt: skip
COLOURS = 8
SHAPES = ("circle", "square", "triangle-up", "diamond", "triangle-down", "cross")
GLYPHS = "\N{BLACK CIRCLE}\N{BLACK SQUARE}\N{BLACK UP-POINTING TRIANGLE}\N{BLACK DIAMOND}" \
         "\N{BLACK DOWN-POINTING TRIANGLE}\N{HEAVY GREEK CROSS}"  # fmt: skip
DASHES = ([1, 0], [7, 2], [3, 2], [9, 2, 2, 2], [12, 3], [5, 1, 1, 1])
DOTTED = [2, 3]  # references
COUNT = COLOURS * len(SHAPES)


@dataclass(frozen=True)
class Look:
    """How one group is drawn: ``colour`` counts the palette's colours, ``None`` is a reference."""

    colour: int | None
    shape: int

    @property
    def dash(self) -> list[int]:
        """Lengths of dashes and gaps."""
        return DOTTED if self.colour is None else DASHES[self.shape]

    @property
    def swatch(self) -> Markup:
        """The marker as a coloured character, for tables; the page's style sheet has the colour."""
        colour = "ref" if self.colour is None else f"m{self.colour}"
        glyph = GLYPHS[self.shape]
        return Markup(f'<span class="swatch" style="color:var(--{colour})" aria-hidden="true">'
                      f"{glyph}</span>")  # fmt: skip


@dataclass(frozen=True)
class Entry:
    """A group, the short name that tells it from the others, and its look."""

    group: Group
    name: str
    look: Look


def entries(groups: Sequence[Group]) -> list[Entry]:
    """Name each group and give it its look, in their order.

    Several settings of one method take looks of their own: the plainest has the method's, the
    others follow by name.
    """
    plain_first = sorted(groups, key=lambda g: (len(g.label), g.label))
    one_each = list({g.first.method: g for g in reversed(plain_first)}.values())[::-1]
    looks: dict[str, Look] = {}
    taken: set[int] = set()
    for g in [*one_each, *plain_first]:
        if g.first.setup in looks:
            continue
        if g.reference:
            looks[g.first.setup] = Look(None, sum(k.colour is None for k in looks.values()) % 6)
            continue
        number = _number(g.first.method)
        while number in taken and len(taken) < COUNT:
            number = (number + 1) % COUNT
        taken.add(number)
        colour = number % COLOURS
        looks[g.first.setup] = Look(colour, (colour + number // COLOURS) % len(SHAPES))
    return [
        Entry(g, name, looks[g.first.setup]) for g, name in zip(groups, _names(groups), strict=True)
    ]


def _number(method: str) -> int:
    if method in FAMILIAR:
        return FAMILIAR.index(method)
    free = COUNT - len(FAMILIAR)
    return len(FAMILIAR) + zlib.crc32(method.encode()) % free


def _names(groups: Sequence[Group]) -> list[str]:
    """Return short names with the reference mark; namesakes differ by the method's name."""
    names = [g.short + (REFERENCE if g.reference else "") for g in groups]
    return [
        f"{name} [{g.first.method}]" if names.count(name) > 1 else name
        for g, name in zip(groups, names, strict=True)
    ]
