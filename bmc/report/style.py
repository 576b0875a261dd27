"""How charts look on the page and in papers: sizes, fonts, colours.

The page names its colours by variables of its style sheet, so that one drawing serves light and
dark; papers use the light values.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from autods.pages.palette import PALETTE
from bmc.report.looks import SHAPES, Entry

if TYPE_CHECKING:
    import altair as alt


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
        """Return encodings of the field ``name`` that agree in all charts and share one legend.

        The page has legends of its own, whose names can be pressed.
        """
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
                legend=None if self.interactive else alt.Undefined,
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
