"""The commands that train: a file of their options, a help that fits a screen."""

from __future__ import annotations

import inspect
import textwrap
from collections.abc import Callable, Iterable, Mapping
from contextvars import ContextVar
from functools import wraps
from pathlib import Path
from typing import Annotated, Any, get_type_hints

import typer
import yaml
from typer.core import TyperArgument, TyperOption

from autods.core.console import AppCommand
from autods.core.refusals import refusal
from autods.core.registry import unknown
from autods.core.seals import comment_holds, with_comment
from autods.core.shell import quoted
from autods.core.yaml_files import parse_yaml
from autods.errors import UsageError
from bmc.config import Overrides
from bmc.studies.presets import config_file, preset_names
from bmc.train.phases import START, Stopwatch

SECTIONS = f"{__name__}.sections"  # of the context: what --config gives to single methods
OVERRIDES = f"{__name__}.overrides"
WATCH = f"{__name__}.watch"
HELP_ALL = "help_all"
# Any: of click's classes typer has its own copy or not, depending on its version
_running: ContextVar[Any] = ContextVar("_running", default=None)
# say how a command is carried out, not what it computes, or are in the sections of methods:
# `write_config` leaves them out
NOT_REPEATED = {
    "config_file", HELP_ALL, "help", "option", "expert_rows", "out", "resume", "list",
    "quiet", "json",
}  # fmt: skip


class StudyCommand(AppCommand):
    """A command whose help is grouped by panel, and which `write_config` can repeat."""

    def invoke(self, ctx: Any) -> Any:
        """Run the command; `write_config`, `sections_for` and `watch` look at its context."""
        ctx.meta[WATCH] = Stopwatch(START)
        token = _running.set(ctx)
        try:
            return super().invoke(ctx)
        finally:
            _running.reset(token)

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """Write the help without boxes, so that it fits a screen."""
        self.format_usage(ctx, formatter)
        self.format_help_text(ctx, formatter)
        self.format_options(ctx, formatter)
        self.format_epilog(ctx, formatter)

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Write the options under the titles of their panels, hidden ones left out."""
        panels: dict[str, list[tuple[str, str]]] = {}
        for parameter in self.get_params(ctx):
            if (record := parameter.get_help_record(ctx)) is not None:
                title = getattr(parameter, "rich_help_panel", None) or "Options"
                panels.setdefault(title, []).append(record)
        for title in sorted(panels, key=lambda title: title == "Options"):
            with formatter.section(title):
                formatter.write_dl(panels[title], col_max=28)


def watch() -> Stopwatch:
    """Return the stopwatch that started with the command, before its heavy imports."""
    context = _running.get()
    found: Stopwatch = Stopwatch(START) if context is None else context.meta[WATCH]
    return found


def register(app: typer.Typer, command: Callable[..., None], examples: str) -> None:
    """Add a command to an app, with ``--config FILE``, ``--help-all`` and its examples."""
    epilog = "\b\nExamples:\n" + textwrap.indent(textwrap.dedent(examples).strip(), "  ")
    app.command(cls=StudyCommand, epilog=epilog)(_with_config_file(command))


def _with_config_file(command: Callable[..., None]) -> Callable[..., None]:
    @wraps(command)
    def wrapper(**values: Any) -> None:
        del values["config_file"], values[HELP_ALL]  # their callbacks have acted
        values["method"] = ",".join(values["method"]).replace(" ", "")
        command(**values)

    keyword = inspect.Parameter.KEYWORD_ONLY
    hints = get_type_hints(command, include_extras=True)
    hints |= {"config_file": FileOption, HELP_ALL: HelpAllOption}
    hints["method"] = Annotated[list[str], *hints["method"].__metadata__]
    known = inspect.signature(command).parameters
    defaults = {name: known[name].default for name in known}
    defaults |= {"config_file": None, HELP_ALL: False, "method": [defaults["method"]]}
    # typer reads the options from this attribute, which function types do not declare
    wrapper.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
        [inspect.Parameter(name, keyword, default=default, annotation=hints[name])
         for name, default in defaults.items()]
    )  # fmt: skip
    wrapper.__annotations__ = hints
    return wrapper


def _show_all(context: typer.Context, wanted: bool) -> None:
    if not wanted:
        return
    for parameter in context.command.get_params(context):
        if isinstance(parameter, TyperOption):
            parameter.hidden = False
    typer.echo(context.get_help())
    raise typer.Exit


def _read(context: typer.Context, path: Path | None) -> Path | None:
    """Make a file's values the defaults of the command, and note its sections of methods."""
    if path is not None:
        path = config_file(path)
        values, sections = read_config(path, _parameters(context.command))
        context.default_map = {**(context.default_map or {}), **values}
        context.meta[SECTIONS] = sections
    return path


FileOption = Annotated[
    Path | None,
    typer.Option(
        "--config", metavar="FILE", is_eager=True, callback=_read,
        help="YAML file of options and sections for methods, or a preset: "
        f"{', '.join(preset_names())}.",
    ),
]  # fmt: skip
HelpAllOption = Annotated[
    bool,
    typer.Option(
        "--help-all", is_eager=True, callback=_show_all, show_default=False,
        help="Show the rarely used options too, and exit.",
    ),
]  # fmt: skip


def _parameters(command: Any) -> dict[str, Any]:
    """Return the parameter that each long option sets, by its name with underscores."""
    return {
        text.lstrip("-").replace("-", "_"): parameter
        for parameter in command.params
        if not {parameter.name} & {"config_file", HELP_ALL}
        for text in parameter.opts
        if text.startswith("--") or isinstance(parameter, TyperArgument)
    }


def read_config(path: Path, known: Mapping[str, Any]) -> tuple[dict[str, Any], Overrides]:
    """Read a YAML file of options.

    Parameters
    ----------
    known
        The parameter that each key sets; other keys are names of methods.

    Returns
    -------
    tuple
        Values by parameter, and by method those of its section.

    Raises
    ------
    UsageError, UnknownName
        When there is no such file, it is not YAML, or a key is unknown; names the nearest.
    """
    wrong = (
        f"--config {path}: expected a YAML file of options or a preset "
        f"({', '.join(preset_names())}), {{}}; nothing was run."
    )
    try:
        text = path.read_text(encoding="utf-8")
        content = parse_yaml(text)
    except OSError as error:
        raise UsageError(wrong.format(f"got none ({refusal(error).why})")) from None
    except ValueError as error:  # not UTF-8, or not YAML
        cause = " ".join(str(error).split())
        raise UsageError(wrong.format(f"but it cannot be read: {cause}")) from None
    if not isinstance(content, dict):
        raise UsageError(wrong.format(f"got {type(content).__name__}"))
    if not comment_holds(text):
        typer.echo(f"note: {path} is not as bmc-stream wrote it: it was changed since.", err=True)
    values: dict[str, Any] = {}
    sections: Overrides = {}
    for key, value in content.items():
        if key in known:
            values[known[key].name] = _given(path, key, known[key], value)
        else:
            sections[key] = _section(path, key, value, known)
    return values, sections


def _given(path: Path, key: str, parameter: Any, value: Any) -> Any:
    """Return a value of a file as its option takes it: repeated, or in one text with commas."""
    if isinstance(value, bool) and not getattr(parameter, "is_flag", True):
        raise UsageError(
            f"--config {path}: {key}: expected a value, got {str(value).lower()}, which YAML takes "
            "yes, no, on and off for, too; nothing was run. Put a name in quotes."
        )
    if getattr(parameter, "multiple", False):
        return value if isinstance(value, list) else [value]
    return ",".join(map(str, value)) if isinstance(value, list) else value


def _section(path: Path, key: Any, value: Any, known: Iterable[str]) -> dict[str, Any]:
    from bmc.methods import METHODS
    from bmc.methods.overrides import field_of

    if key not in METHODS.names():
        named = unknown("key", str(key), [*known, *METHODS.names()])
        raise UsageError(f"--config {path}: {named} Nothing was run.")
    if not isinstance(value, dict):
        raise UsageError(
            f"--config {path}: {key}: expected its options, a line each, got {value}; nothing "
            "was run."
        )
    try:
        return {field_of(key, str(name)): given for name, given in value.items()}
    except UsageError as error:
        raise UsageError(f"--config {path}: {error} Nothing was run.") from None


def sections_for(methods: str) -> Overrides:
    """Return what ``--config`` gives to these methods, comma-separated or ``all``.

    A file may serve several commands, so sections of other methods are left out.
    """
    context = _running.get()
    sections: Overrides = context.meta.get(SECTIONS, {}) if context else {}
    names = methods.split(",")
    return {name: given for name, given in sections.items() if methods == "all" or name in names}


def note_overrides(overrides: Overrides) -> None:
    """Note what the running command gives to single methods, for `write_config`."""
    if (context := _running.get()) is not None:
        context.meta[OVERRIDES] = overrides


def write_config(path: Path, overrides: Overrides | None = None, **changes: Any) -> None:
    """Write the YAML file that repeats the command that runs: ``--config`` reads it.

    Parameters
    ----------
    overrides
        The sections: values of methods; default: those that the command was given.
    changes
        Values in place of those of the command, by parameter: of one run of several.
    """
    from autods.core.files import atomic

    context = _running.get()
    values: dict[str, Any] = {}
    for key, parameter in _parameters(context.command).items():
        name = parameter.name
        value = changes.get(name, context.params.get(name))
        if name not in NOT_REPEATED and value not in (None, "", (), []):
            values.setdefault(name, (key, _plain(value)))
    sections: Overrides = context.meta.get(OVERRIDES, {}) if overrides is None else overrides
    content = dict(values.values()) | {name: own for name, own in sections.items() if own}
    text = f"# bmc-stream {context.info_name} --config {quoted(path.name)}\n"
    with atomic(path) as temporary:
        written = with_comment(yaml.safe_dump(content, sort_keys=False))
        temporary.write_text(text + written, encoding="utf-8")


def _plain(value: Any) -> Any:
    if isinstance(value, Path):
        return str(value)
    return [_plain(one) for one in value] if isinstance(value, list | tuple) else value
