"""What both command lines share: how errors end a command, and how results are printed."""

from __future__ import annotations

import json
import signal
import sys
from collections.abc import Collection
from typing import TYPE_CHECKING, Any, Literal, NoReturn

from autods.errors import AutodsError

if TYPE_CHECKING:
    import typer


def run_app(app: typer.Typer) -> NoReturn:
    """Run a command line: no traceback for what a user can mend, and a definite exit code.

    0: everything asked for was done; 2: wrong usage; 1: anything else; 130: interrupted.
    """
    signal.signal(signal.SIGINT, _interrupt)
    try:
        app()
    except AutodsError as error:
        _fail(str(error), error.exit_code)
    except OSError as error:
        where = f" ({error.filename})" if error.filename else ""
        _fail(
            f"the system refused: {error.strerror or error}{where}; finished files are whole. "
            "Mend the cause (space, permission, path) and run the same command again.",
            1,
        )
    except Interrupted:
        _fail("interrupted; finished work is kept. Run the same command again to go on.", 130)
    sys.exit(0)


class Interrupted(BaseException):
    """Ctrl-C. Not `KeyboardInterrupt`, which typer would end without our message."""


def _interrupt(*_: object) -> NoReturn:
    raise Interrupted


def _fail(message: str, code: int) -> NoReturn:
    print(f"error: {message}", file=sys.stderr)
    sys.exit(code)


def print_json(value: Any) -> None:
    """Print a value for programs: one JSON document on standard output."""
    print(json.dumps(value, indent=2, default=str))


def print_table(title: str, rows: list[dict[str, Any]], cut: Collection[str] = ()) -> None:
    """Print rows as an aligned table; numbers to the right, with thousands separators.

    Parameters
    ----------
    cut
        Columns whose long texts end in an ellipsis, so that every row stays on one line.
        Without any, what does not fit goes on in the next line.
    """
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(title=title, title_justify="left", box=None, pad_edge=False, header_style="bold")
    keys = list(rows[0]) if rows else []
    for key in keys:
        numeric = all(type(row[key]) in (int, float, type(None)) for row in rows)
        justify: Literal["left", "right"] = "right" if numeric else "left"
        whole = bool(cut) and key not in cut  # the others then give way
        table.add_column(key, justify=justify, overflow="fold", no_wrap=whole)
    for row in rows:
        # Text: brackets in a licence or a name are no markup
        cells = {key: Text(_cell(row[key])) for key in keys}
        for key in cut:
            cells[key].no_wrap, cells[key].overflow = True, "ellipsis"
        table.add_row(*cells.values())
    console = Console()
    with console.capture() as captured:
        console.print(table)
    for line in captured.get().splitlines():
        print(line.rstrip())  # rich fills lines up with blanks, which files need not keep


def _cell(value: Any) -> str:
    if value is None:
        return "?"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list):
        return ", ".join(value) or "none"
    return f"{value:,}" if isinstance(value, int) else str(value)
