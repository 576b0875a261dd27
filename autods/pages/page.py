"""Fill a template and write it as one HTML file that needs no other file and no network."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from autods.core.extras import require
from autods.core.files import atomic
from autods.core.version import __version__
from autods.features.encoder_names import remark_on
from autods.pages.palette import variables


def write_page(out: Path, template: str, what: str, **content: Any) -> Path:
    """Write a page; everything that the template shows is escaped.

    Parameters
    ----------
    template
        Name of a file of this room.
    what
        The command that asks, for the message if jinja2 is not installed.

    Raises
    ------
    UsageError
        If jinja2 is not installed.
    """
    require(what, "jinja2")
    from jinja2 import Environment, PackageLoader, StrictUndefined
    from markupsafe import Markup, escape

    environment = Environment(
        loader=PackageLoader("autods.pages", "."), autoescape=True, undefined=StrictUndefined,
        trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    environment.filters["count"] = lambda number: f"{number:,}"
    environment.filters["percent"] = percent
    environment.filters["remark"] = remark_on
    environment.filters["path"] = lambda path: Markup(str(escape(path)).replace("/", "/<wbr>"))
    page = environment.get_template(template).render(
        light=variables(dark=False), dark=variables(dark=True), version=__version__, **content
    )
    with atomic(out) as temporary:
        temporary.write_text(page, encoding="utf-8", newline="\n")
    return out


def percent(share: float) -> str:
    """Write a share as a percentage; never 0 or 100 unless it is."""
    if 0 < share < 0.0005:
        return "<\N{THIN SPACE}0.1\N{NO-BREAK SPACE}%"
    if 0.9995 <= share < 1:
        return ">\N{THIN SPACE}99.9\N{NO-BREAK SPACE}%"
    return f"{100 * share:.1f}\N{NO-BREAK SPACE}%"
