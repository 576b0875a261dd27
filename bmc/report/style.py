"""How charts look on the page and in papers: sizes, fonts, colours.

The page names its colours by variables of its style sheet, so that one drawing serves light and
dark; papers use the light values.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from bmc.report.looks import SHAPES, Entry

if TYPE_CHECKING:
    import altair as alt

# Colours as (light, dark), each at least 3:1 against its ground, text 4.5:1.
PALETTE = {
    "ink": ("#1b1f24", "#e6e9ed"), "soft": ("#57606a", "#a3acb7"), "line": ("#d4d9df", "#39414b"),
    "ground": ("#ffffff", "#12161b"), "panel": ("#f6f8fa", "#1b2128"),
    "link": ("#0a58a8", "#7fb8f0"), "ref": ("#6b7280", "#a3acb7"),
    "m0": ("#0072b2", "#4fa8e8"), "m1": ("#d55e00", "#ff8d50"), "m2": ("#00876a", "#2fc49b"),
    "m3": ("#a4508b", "#e39cc5"), "m4": ("#b07900", "#efb23e"), "m5": ("#3a8fc4", "#9ad5f5"),
    "m6": ("#6f6a00", "#d8cf5c"), "m7": ("#7a4b2a", "#d3a283"),
    "h0": ("#eef3f9", "#1a2530"), "h1": ("#dbe7f3", "#1e3044"), "h2": ("#c3d8ec", "#233e5a"),
    "h3": ("#a5c5e2", "#2a4e72"), "h4": ("#83afd6", "#33608b"), "h5": ("#6297c7", "#3f75a6"),
    "h6": ("#447eb5", "#528cc0"), "h7": ("#2d669f", "#70a6d6"), "h8": ("#1b4c81", "#98c3e8"),
    "h9": ("#0d3360", "#c9e2f8"),
}  # fmt: skip
LEVELS = [f"h{k}" for k in range(10)]  # the accuracy scale, low to high


def variables(dark: bool) -> str:
    """Return the palette as declarations of a style sheet."""
    return " ".join(f"--{name}: {colours[dark]};" for name, colours in PALETTE.items())


@dataclass(frozen=True)
class Style:
    """Sizes in pixels, which are points in papers; ``width`` is ``None`` on a page."""

    width: int | None
    size: float
    row: int
    point: int
    stroke: float
    shrink: float = 1.0

    @property
    def interactive(self) -> bool:
        """Whether a reader can point and click."""
        return self.width is None

    def colour(self, name: str) -> str:
        """Return a colour of the palette as charts write it."""
        return f"var(--{name})" if self.width is None else PALETTE[name][0]

    def of(self, entry: Entry) -> str:
        """Return the colour of a method."""
        colour = entry.look.colour
        return self.colour("ref" if colour is None else f"m{colour}")

    def by_method(
        self, shown: Sequence[Entry], *channels: Literal["color", "shape", "strokeDash"]
    ) -> dict[str, Any]:
        """Return encodings of the field ``name`` that agree in all charts and share one legend."""
        import altair as alt

        values: dict[str, list[Any]] = {
            "color": [self.of(e) for e in shown],
            "shape": [SHAPES[e.look.shape] for e in shown],
            "strokeDash": [e.look.dash for e in shown],
        }
        make = {"color": alt.Color, "shape": alt.Shape, "strokeDash": alt.StrokeDash}
        names = [e.name for e in shown]
        return {
            channel: make[channel](
                "name:N", title=None, sort=None,
                scale=alt.Scale(domain=names, range=values[channel]),
            )
            for channel in channels
        }  # fmt: skip

    def finish(self, *layers: alt.Chart, height: float) -> alt.LayerChart:
        """Return a chart of these layers that stands alone.

        The page's script widens legends to as many columns as fit.
        """
        import altair as alt

        ink, soft, line = (self.colour(name) for name in ("ink", "soft", "line"))
        columns = 1 if self.width is None else self.width // (14 * round(self.size))
        thin = self.stroke / 2
        label: dict[str, Any] = {"labelColor": soft, "labelFontSize": self.size * 0.92}
        title: dict[str, Any] = {"titleColor": soft, "titleFontSize": self.size,
                                 "titleFontWeight": "normal"}  # fmt: skip
        chart: alt.LayerChart = alt.LayerChart(layer=layers).properties(
            width="container" if self.width is None else self.width,
            height=round(height * self.shrink),
            padding=2 if self.width is None else 3,
            autosize=alt.AutoSizeParams(type="fit-x", contains="padding"),
            background="transparent" if self.width is None else "white",
        ).configure(
            aria=False,
            font="Liberation Sans, Arial, sans-serif" if self.width else "system-ui, sans-serif",
            view=alt.ViewConfig(stroke=None),
            axis=alt.AxisConfig(
                gridColor=line, domainColor=soft, tickColor=soft, gridWidth=thin,
                domainWidth=thin, tickWidth=thin, **label, **title
            ),
            legend=alt.LegendConfig(
                orient="bottom", labelColor=ink, labelFontSize=self.size,
                labelLimit=11 * self.size, columns=columns,
                symbolOpacity=1, symbolStrokeWidth=0, symbolSize=2 * self.point, offset=6, **title,
            ),
            text=alt.MarkConfig(color=ink, fontSize=self.size),
        )  # fmt: skip
        return chart


PAGE = Style(width=None, size=12, row=36, point=45, stroke=2)


def paper(width: float) -> Style:
    """Return the style of a figure so many inches wide."""
    return Style(width=round(72 * width), size=7.6, row=23, point=16, stroke=1.1, shrink=0.62)
