"""Shared by both command lines: ``--version``, error messages, printed results."""

from __future__ import annotations

import ctypes
import json
import os
import platform
import re
import sys
import textwrap
from collections.abc import Collection, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer
from typer.core import TyperCommand, TyperGroup

from autods.core.extras import OPTIONAL, missing
from autods.core.home import ensure_home
from autods.core.network import share_certificates
from autods.core.output import counted, make_printable, plain, tell
from autods.core.refusals import lack, lacks_memory, refusal, why_refused
from autods.core.root import default_root
from autods.core.signals import Interrupted, end_by_signals
from autods.core.tables import Column, print_columns
from autods.core.version import __version__
from autods.errors import AutodsError, UsageError

PACKAGES = ("torch", "torchvision", "open_clip_torch", "timm", "h5py", "numpy", "pillow", "pyarrow")
# 1,231; 17.2%; ~ 60.0 MB; 2.0 GB + ?; and what stands for none and for an unknown number
AMOUNT = re.compile(r"((?:~ )?\d[\d,.]*(?:%| ?[kMGT]B| bytes)?(?: \+ \?)?)|[-?]?")
DRIVERS = {"linux": "libcuda.so.1", "win32": "nvcuda.dll"}


def run_app(app: typer.Typer, extra: str = "extract") -> NoReturn:
    """Run a command line: users get messages instead of tracebacks, and a definite exit code.

    0: everything asked for was done; 2: wrong usage; 1: anything else; 130: interrupted, 143 and
    129: ended by another signal, see `autods.core.signals`. ``extra`` brings torch for these
    commands, where it is not installed.
    """
    end_by_signals()
    make_printable()
    share_certificates()
    if note := ensure_home():
        tell(f"note: {note}", sys.stderr)
    try:
        _run(app)
    except AutodsError as error:
        _fail(str(error), error.exit_code)
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        if package not in OPTIONAL:
            raise
        wanted = missing(package, "this command", extra)
        _fail(str(wanted), wanted.exit_code)
    except UnicodeEncodeError as error:  # printed text is never at fault, see `make_printable`
        sign = plain(error.object[error.start : error.end])
        _fail(
            f"this system cannot write {sign!r} in the name of a file ({error.encoding}); finished "
            "files are whole. Set PYTHONUTF8=1 or a UTF-8 locale (LC_ALL=C.UTF-8), then run the "
            "same command again.",
            1,
        )
    except (OSError, MemoryError, RuntimeError, ImportError) as error:
        if lacks_memory(error):
            why, cure = lack(error)
        elif isinstance(error, OSError):
            why, cure = why_refused(error), refusal(error).cure
        else:
            raise
        _fail(
            f"the system refused: {why}; finished files are whole. {cure}, then run the same "
            "command again.",
            1,
        )
    except Interrupted as error:
        _fail(
            f"{error}; finished work is kept. Run the same command again to go on.",
            128 + error.number,
        )
    sys.exit(0)


def _run(app: typer.Typer) -> None:
    """Run an app to its end: what it printed has arrived, or `OSError` says why not."""
    try:
        app()
    except SystemExit as done:
        if done.code:
            raise
    if sys.stdout is not None:
        sys.stdout.flush()


def _fail(message: str, code: int) -> NoReturn:
    tell(f"error: {message}", sys.stderr)
    sys.exit(code)


class _Shown:
    """Parameters as help shows them: a flag has no value."""

    def get_params(self, ctx: Any) -> list[Any]:
        """Return the parameters of a command."""
        found: list[Any] = super().get_params(ctx)  # type: ignore[misc]  # of the other base class
        for one in found:
            if getattr(one, "metavar", "") is None and getattr(one, "is_flag", False):
                one.metavar = ""
        return found


class AppGroup(_Shown, TyperGroup):
    """A group of commands, whose flags are shown as flags."""


class AppCommand(_Shown, TyperCommand):
    """A command that says of a missing option or argument what it takes."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Parse the words of the command line."""
        if not ctx.resilient_parsing:
            _refuse_empty(args)
        try:
            return super().parse_args(ctx, args)
        except Exception as error:  # click's; typer has its own copy of it, or not
            name = getattr(error, "option_name", None)
            missing = getattr(error, "param", None) if "Missing" in type(error).__name__ else None
            known = (one for one in self.params if name is not None and name in one.opts)
            text = getattr(missing or next(known, None), "help", None)
            if text and hasattr(error, "message"):
                error.message = f"{error.message} Expected: {text}".strip()
            raise


def _refuse_empty(words: Sequence[str]) -> None:
    """Refuse empty words: a variable of a script is not set. As a path they mean this folder."""
    for before, word in zip(["", *words], words, strict=False):
        option, equals, value = word.partition("=")
        if not word or (option.startswith("--") and equals and not value):
            given_to = option if word else before if before.startswith("-") else "--"
            raise UsageError(
                f"{'arguments' if given_to == '--' else given_to}: expected a value, got an empty "
                "text; nothing was done. Is a variable of your script empty?"
            )


def print_json(value: Any) -> None:
    """Print a value for programs: one JSON document on standard output."""
    print(json.dumps(value, indent=2, default=str))


def print_next(*steps: str, quiet: bool = False) -> None:
    """Print what the user can do next, on standard error: what was asked for stays alone.

    Each step is a command, or a sentence; commands are not wrapped, so that they can be copied.
    """
    if quiet:
        return
    for number, step in enumerate(steps):
        print(f"{'      ' if number else 'Next: '}{step}", file=sys.stderr)


def wrapped(head: str, text: str, width: int) -> list[str]:
    """Return a text as lines of at most ``width`` columns, below and beside its head."""
    return textwrap.wrap(
        text,
        max(width, len(head) + 20),
        initial_indent=head,
        subsequent_indent=" " * len(head),
        break_long_words=False,
        break_on_hyphens=False,
    )


def print_table(
    title: str,
    rows: Sequence[Mapping[str, Any]],
    cut: Collection[str] = (),
    *,
    names: int = 1,
    more: str = "--json",
) -> None:
    """Print rows as a table; numbers to the right, with thousands separators.

    Columns that do not fit are left out, the last one first; a line says which.

    Parameters
    ----------
    cut
        Columns whose long texts end in an ellipsis; those of the others wrap.
    names
        How many of the first columns name the rows, and are never left out.
    more
        Where the columns that are left out can be found.
    """
    columns = [
        Column(
            key,
            [_cell(row[key]) for row in rows],
            number=_amounts([row[key] for row in rows]),
            name=k < names,
            cut=key in cut,
        )
        for k, key in enumerate(rows[0] if rows else ())
    ]
    print_columns(columns, title=title, more=more)


def _amounts(values: Sequence[Any]) -> bool:
    """Tell whether these are numbers, or texts of numbers and sizes; some may be unknown."""
    texts = [value for value in values if type(value) not in (int, float, type(None))]
    found = [AMOUNT.fullmatch(text) if isinstance(text, str) else None for text in texts]
    return None not in found and (
        len(texts) < len(values) or any(match[1] for match in found if match)
    )


def _cell(value: Any) -> str:
    if value is None:
        return "?"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list):
        return ", ".join(value) or "none"
    return f"{value:,}" if isinstance(value, int) else str(value)


def add_version(app: typer.Typer) -> None:
    """Give a command line the option ``--version``."""
    app.callback()(_options)


def environment(program: str) -> str:
    """Return name and version in the first line, and the environment below it."""
    rows = {
        "python": f"{platform.python_version()} ({sys.executable})",
        "platform": platform.platform(),
        **{name: installed(name) for name in PACKAGES},
        "CUDA": cuda(),
        "data root": data_root(),
    }
    width = max(map(len, rows))
    lines = [f"{key:<{width}}  {value}" for key, value in rows.items()]
    return "\n".join([f"{program} {__version__}", *lines])


def installed(package: str) -> str:
    """Return the version of an installed package."""
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"


def cuda() -> str:
    """Say whether torch was built for CUDA, and how many devices the driver has."""
    return f"{_built()}; {_devices()}"


def data_root() -> str:
    """Return the data root that is used without ``--root``, and where it comes from."""
    source = "AUTODS_ROOT" if os.environ.get("AUTODS_ROOT") else "default"
    return f"{default_root()} ({source})"


def _show(context: typer.Context, wanted: bool) -> None:
    if wanted:
        typer.echo(environment(context.find_root().info_name or "autods"))
        raise typer.Exit


def _options(
    version: Annotated[
        bool,
        typer.Option(
            "--version",
            callback=_show,
            is_eager=True,
            help="Show the version and the environment, for reports of bugs.",
        ),
    ] = False,
) -> None:
    pass


def _built() -> str:
    spec = find_spec("torch")
    if spec is None or spec.origin is None:
        return "no torch"
    text = (Path(spec.origin).parent / "version.py").read_text("utf-8")
    found = re.search(r"^cuda\b[^=]*= *'([^']+)'", text, re.MULTILINE)
    return f"torch built for {found[1]}" if found else "torch built without it"


def _devices() -> str:
    count = ctypes.c_int(0)
    try:
        driver = ctypes.CDLL(DRIVERS.get(sys.platform, ""))
        failed = driver.cuInit(0) or driver.cuDeviceGetCount(ctypes.byref(count))
    except (OSError, AttributeError):
        return "no driver"
    if failed:
        return f"the driver answers with error {failed}"
    return counted(count.value, "device")
