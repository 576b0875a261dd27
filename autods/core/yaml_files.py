"""The one reader of YAML for manifests, streams, presets and configurations.

YAML that is legal and yet no plain data of a person is refused: a key twice, of which the last
would win silently, references that multiply, values that Python cannot build.
"""

from __future__ import annotations

import re
from collections.abc import Hashable
from typing import Any

import yaml

# libyaml where PyYAML was built with it: ten times as fast, and there are dozens of manifests.
_Base: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
MERGE = "tag:yaml.org,2002:merge"  # of the key <<
WHOLE, FRACTION = "tag:yaml.org,2002:int", "tag:yaml.org,2002:float"
SURPRISING = re.compile(r"[-+]?(0[0-7_]+|[0-9][0-9_]*(:[0-5]?[0-9])+(\.[0-9_]*)?)")
WHOLE_BITS = 256  # of the largest whole number: larger ones take minutes to print
VALUES = 2_000_000  # in a file, references counted as often as they are used


class YamlFault(ValueError):
    """A text that is not YAML, or is refused; ``line`` (1-based) is ``None`` if not known."""

    def __init__(self, problem: str, line: int | None = None) -> None:
        super().__init__(problem)
        self.line = line


class _Loader(_Base):  # type: ignore[misc]  # chosen above, so without a type
    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        lines: dict[Any, int] = {}
        for key_node, _ in node.value:
            if key_node.tag == MERGE:
                continue
            key, line = self.construct_object(key_node, deep=True), key_node.start_mark.line + 1
            if not isinstance(key, Hashable):
                continue  # the base class refuses it
            if key in lines:
                raise YamlFault(f"key '{key}' again, after line {lines[key]}", line)
            lines[key] = line
        found: dict[Any, Any] = super().construct_mapping(node, deep)
        return found

    def construct_number(self, node: yaml.ScalarNode) -> Any:
        if SURPRISING.fullmatch(node.value):
            wrong = f"'{node.value}' is a number in base 8 or 60 to YAML; write it as a decimal"
            raise YamlFault(f"{wrong}, or a text in quotes", node.start_mark.line + 1)
        is_whole = node.tag == WHOLE
        build = super().construct_yaml_int if is_whole else super().construct_yaml_float
        return build(node)


_Loader.add_constructor(WHOLE, _Loader.construct_number)
_Loader.add_constructor(FRACTION, _Loader.construct_number)


def parse_yaml(text: str) -> Any:
    """Return what a YAML text says; raise `YamlFault` if it is none, or a key occurs twice."""
    try:
        content = yaml.load(text, Loader=_Loader)  # derived from the safe loader
        _count(content, {})
    except YamlFault:
        raise
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        problem = getattr(error, "problem", None) or " ".join(str(error).split())
        raise YamlFault(problem, None if mark is None else mark.line + 1) from None
    except RecursionError:
        raise YamlFault("its values lie too deep in each other") from None
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError) as error:
        # PyYAML's constructors let through what a wrong date, number or tag raises.
        raise YamlFault(f"a value cannot be read: {' '.join(str(error).split())[:120]}") from None
    return content


def compose_yaml(text: str) -> yaml.Node | None:
    """Return the nodes of a text that `parse_yaml` has read, for the lines of its values."""
    try:
        return yaml.compose(text, Loader=_Loader)
    except yaml.YAMLError:
        return None


def _count(value: Any, sizes: dict[int, int]) -> int:
    """Return the number of values in a value; refuse too many, and one that holds itself."""
    if isinstance(value, str):
        value.encode()  # a lone surrogate is no text
    if isinstance(value, int) and value.bit_length() > WHOLE_BITS:
        raise YamlFault(f"a whole number has more than {WHOLE_BITS} bits")
    if not isinstance(value, dict | list | tuple | set):
        return 1
    if id(value) in sizes:
        if not sizes[id(value)]:
            raise YamlFault("a value holds itself by a reference ('*')")
        return sizes[id(value)]
    sizes[id(value)] = 0  # until it is counted
    inner = [*value.keys(), *value.values()] if isinstance(value, dict) else value
    count = 1 + sum(_count(one, sizes) for one in inner)
    if count > VALUES:
        raise YamlFault("references ('*') multiply its values without measure")
    sizes[id(value)] = count
    return count
