"""Error messages for YAML files that do not follow their schema, one line for each problem.

The schema's internal words (names of classes, of alternatives) are kept out of it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ValidationError

from autods.core.registry import unknown
from autods.core.yaml_files import compose_yaml

Location = tuple[int | str, ...]
Schema = dict[str, Any]

KEY = "[key]"  # pydantic's name for the key itself, not its value
PLAIN = {
    "string_type": "expected text; put it in quotes",
    "list_type": "expected a list",
    "dict_type": "expected keys with values",
    "int_parsing": "expected a whole number",
    "int_type": "expected a whole number",
    "string_too_long": "expected at most {max_length} characters",
    "string_too_short": "expected at least {min_length} characters",
    "too_short": "expected at least {min_length} entry, got {actual_length}",
}  # problem to our words for it
OF_KEYS = ("model_type", "model_attributes_type")  # problems: not keys with values at all


@dataclass(frozen=True)
class _Place:
    """The location of a problem: the field as users know it, and its schema."""

    field: str
    schema: Schema
    alternative: bool  # the location ends with one of several forms that the field may have


def explain(
    path: Path | str, text: str, model: type[BaseModel], error: ValidationError
) -> list[str]:
    """Return one line for each problem of a YAML file that was checked against ``model``."""
    root = model.model_json_schema(by_alias=True)
    node = compose_yaml(text)
    problems = error.errors()
    found = [(problem, _place(root, problem["loc"])) for problem in problems]
    return [
        f"{path}:{_line(node, problem['loc'])}: {place.field or '(whole file)'}: "
        + _message(problem, place, root)
        for problem, place in found
        if not (place.alternative and _another_fits(problem["loc"], problems))
    ]


def _another_fits(location: Location, problems: Sequence[Any]) -> bool:
    """Tell whether another form of the field was meant: its problems lie deeper."""
    return any(
        len(other["loc"]) > len(location) and other["loc"][: len(location) - 1] == location[:-1]
        for other in problems
    )


def _message(problem: Any, place: _Place, root: Schema) -> str:
    kind, value, last = problem["type"], problem["input"], (problem["loc"] or ("",))[-1]
    keys = place.schema.get("properties", {})
    if kind == "extra_forbidden":
        return str(unknown("key", str(last), keys))
    if kind == "missing":
        around = _place(root, problem["loc"][:-1]).schema["properties"]
        optional = {"type": "null"} in around[last].get("anyOf", [])
        return "required key is missing" + ("; write null if it is unknown" if optional else "")
    if kind in OF_KEYS:
        message = "expected keys with values" + (f" ({', '.join(keys)})" if keys else "")
    elif kind in PLAIN:
        message = PLAIN[kind].format(**problem.get("ctx", {}))
    else:
        message = problem["msg"].removeprefix("Value error, ")
        message = message.replace("Input should be ", "expected ")
    return message + ("" if kind == "too_short" else _got(value))


def _got(value: Any) -> str:
    if value is None:
        return ", got null"
    return f", got '{value}'" if isinstance(value, str | int | float) else ""


def _place(root: Schema, location: Location) -> _Place:
    """Follow a location through a JSON schema.

    For a missing or unknown key this is the schema of the surrounding object.
    """
    schema, alternative, shown = root, False, []
    for part in location:
        schema = _resolved(schema, root)
        forms = [form for form in schema.get("anyOf", []) if form != {"type": "null"}]
        alternative = len(forms) > 1
        if alternative:
            schema = next((f for f in forms if str(part).startswith(_names(f))), {})
            continue
        if "discriminator" in schema:
            schema = {"$ref": schema["discriminator"]["mapping"].get(part, "#/$defs/")}
        elif part == KEY:
            continue
        elif "properties" in schema:
            schema = schema["properties"].get(str(part), schema)
        else:
            schema = schema.get("items" if isinstance(part, int) else "additionalProperties", {})
        shown.append(str(part))
    return _Place(".".join(shown), _resolved(schema, root), alternative)


def _resolved(schema: Schema, root: Schema) -> Schema:
    """Follow references; skip ``null``."""
    forms = [form for form in schema.get("anyOf", []) if form != {"type": "null"}]
    if len(forms) == 1:
        schema = forms[0]
    if "$ref" in schema:
        schema = root["$defs"].get(schema["$ref"].rpartition("/")[2], {})
    return schema


def _names(form: Schema) -> tuple[str, ...]:
    """Return how pydantic's name for one of several forms begins."""
    if "$ref" in form:
        return (form["$ref"].rpartition("/")[2],)
    return {"array": ("list[",), "object": ("dict[",)}.get(form.get("type", ""), ("literal[",))


def _line(node: yaml.Node | None, location: Location) -> int:
    """Return the line (1-based) of the innermost node on the way to a location."""
    for part in location:
        # A location also names families and alternatives, which are no nodes.
        node = next(_below(node, part), node)
    return node.start_mark.line + 1 if node is not None else 1


def _below(node: yaml.Node | None, part: int | str) -> Iterator[yaml.Node]:
    if isinstance(node, yaml.MappingNode):
        yield from (value for key, value in node.value if key.value == str(part))
    elif isinstance(node, yaml.SequenceNode) and isinstance(part, int):
        yield from node.value[part : part + 1]
