"""Options of single methods as a command line or a file gives them: ``er.memory=500``."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace
from typing import Any, get_type_hints

from autods.core.registry import unknown
from autods.core.yaml_files import YamlFault, parse_yaml
from autods.errors import UsageError
from bmc.config import ALIASES, Config, Overrides
from bmc.methods.base import METHODS


def fields_of(name: str) -> dict[str, type]:
    """Return the types of a method's options and of the shared fields that it reads."""
    method = METHODS.get(name)
    shared = {field: kind for field, kind in get_type_hints(Config).items() if method.reads(field)}
    return get_type_hints(method.Options) | shared


def field_of(name: str, text: str) -> str:
    """Return the field of a method that a text names, with hyphens or underscores.

    `UnknownName` has the nearest names, when the method neither has nor reads such a field.
    """
    field = text.strip().replace("-", "_")
    field = ALIASES.get(field, field)
    known = fields_of(name)
    if field not in known:
        raise unknown(f"option of {name}", text, known)
    return field


def typed(kind: type, text: str) -> Any:
    """Read a text as a value of a type, as YAML does; `config_for` refuses what stays text."""
    if kind is str:
        return text
    if kind is float:
        try:
            return float(text)
        except ValueError:
            return text
    try:
        return parse_yaml(text)
    except YamlFault:
        return text


def overrides_of(texts: Iterable[str]) -> Overrides:
    """Read ``method.field=value`` texts; refuse other forms and unknown names."""
    overrides: Overrides = {}
    for text in texts:
        path, equals, value = text.partition("=")
        name, dot, field = path.strip().partition(".")
        if not (equals and dot):
            raise UsageError(
                f"-o {text}: expected METHOD.OPTION=VALUE, for example er.memory=500; nothing was "
                "run. `bmc-stream methods NAME` lists the options of a method."
            )
        field = field_of(name, field)
        overrides.setdefault(name, {})[field] = typed(fields_of(name)[field], value.strip())
    return overrides


def flagged(flags: Mapping[str, Any], methods: str) -> Overrides:
    """Give options to each of these methods that has them; ``None`` stands for one not given.

    ``methods`` as of `bmc.cli.command.sections_for`. Raises `UsageError` if none has one.
    """
    names = METHODS.names() if methods == "all" else [name for name in methods.split(",") if name]
    overrides: Overrides = {}
    for field, value in flags.items():
        if value is None:
            continue
        having = [name for name in names if field in METHODS.get(name).Options.names()]
        if not having:
            flag = f"--{field.replace('_', '-')}"
            raise UsageError(
                f"{flag}: expected a method with experts that train, like bmc, got --method "
                f"{methods}; nothing was run. Leave {flag} out."
            )
        overrides = merged(overrides, {name: {field: value} for name in having})
    return overrides


def merged(first: Overrides, then: Overrides) -> Overrides:
    """Return overrides where those that come later beat those before."""
    return {name: first.get(name, {}) | then.get(name, {}) for name in first | then}


def check_chosen(overrides: Overrides, names: Collection[str]) -> None:
    """Refuse options of methods that are not among those chosen."""
    for name, values in overrides.items():
        if name not in names:
            raise UsageError(
                f"-o {name}.{next(iter(values))}: expected a method that is run, one of "
                f"{', '.join(names)}; nothing was run. Leave it out, or add {name} to --method."
            )


def config_for(name: str, config: Config, overrides: Mapping[str, Mapping[str, Any]]) -> Config:
    """Return the configuration of one method: the shared one with the method's overrides.

    A field that the method lacks, or a value of another type or range, is refused.
    """
    method = METHODS.get(name)
    values = {field_of(name, field): value for field, value in overrides.get(name, {}).items()}
    own = {field: values.pop(field) for field in method.Options.names() if field in values}
    try:
        config = method.configured(replace(config, **values))
        return replace(config, options=replace(config.options, **own))
    except UsageError as error:
        raise UsageError(f"{name}: {error}") from None
