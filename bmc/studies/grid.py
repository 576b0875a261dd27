"""What a sweep runs: grids and ablations as cells, each an ordinary run with a readable name.

How cells are run is in `bmc.studies.workers`, what they gave in `bmc.studies.sweep_table`.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, get_type_hints

from autods.core.registry import unknown
from autods.errors import UsageError
from bmc.config import Config

ALL = "all"  # experts=all: one group of all tasks
Change = dict[str, Any]  # values by field of the configuration
# The paper's ablations by name: each a grid around the configuration that is asked for.
ABLATIONS: dict[str, tuple[str, ...]] = {
    "stability": ("lam=0",),  # experts without stability loss
    "distillation": ("beta=0",),  # consolidation without batched distillation
    "neither": ("lam=0", "beta=0"),
    "experts": ("experts=1,2,4,8,16,all",),  # group sizes
    "buffer": ("buffer=50,125,250,500,1000",),
    "memory": ("memory=500,1000,2000,4000,8000",),
    "lam": ("lam=0.001,0.01,0.1,1",),
    "alpha": ("alpha=0.1,0.5,1,2",),
    "beta": ("beta=0.001,0.01,0.1,1",),
}


@dataclass(frozen=True)
class Cell:
    """One run of a sweep.

    Attributes
    ----------
    changes
        Fields in which ``config`` differs from that of the sweep, in their order there.
    """

    method: str
    config: Config
    order: str | int
    changes: tuple[tuple[str, Any], ...] = ()

    @property
    def name(self) -> str:
        """Name of its folder: the same in every sweep around the same configuration."""
        told = [f"{k.replace('_', '-')}-{_plain(v)}" for k, v in self.changes if k != "seed"]
        return "-".join([self.method, *told, f"order-{self.order}-seed-{self.config.seed}"])


def parse_grid(text: str) -> tuple[str, list[Any]]:
    """Read ``field=value,value`` and return the field and its typed values.

    Raises
    ------
    UsageError
        When the field or a value is none that `Config` has.
    """
    name, equals, listed = text.partition("=")
    name = name.strip().replace("-", "_")
    hints = get_type_hints(Config)
    if name not in hints:
        known = ", ".join(f.name for f in fields(Config))
        raise UsageError(f"--grid {text}: expected one of the fields {known}; got '{name}'.")
    values = [part.strip() for part in listed.split(",") if part.strip()]
    if not equals or not values:
        raise UsageError(f"--grid {text}: expected field=value,value; got no value.")
    parsed = [_value(text, name, hints[name], value) for value in values]
    return name, list(dict.fromkeys(parsed))


def grid_changes(texts: Iterable[str]) -> list[Change]:
    """Return the product of grids: one change for each combination of values.

    Raises
    ------
    UsageError
        As of `parse_grid`, and when a field is named twice.
    """
    grids: dict[str, list[Any]] = {}
    for text in texts:
        name, values = parse_grid(text)
        if name in grids:
            raise UsageError(
                f"--grid {text}: field {name} is named twice; expected all its values in one "
                f"--grid {name}=..."
            )
        grids[name] = values
    return [dict(zip(grids, chosen, strict=True)) for chosen in itertools.product(*grids.values())]


def ablation_changes(text: str) -> list[Change]:
    """Return the changes of ablations, comma-separated or ``all``, the unchanged one first.

    Raises
    ------
    UnknownName
        When an ablation is unknown.
    """
    names = list(ABLATIONS) if text == ALL else [part for part in text.split(",") if part]
    changes: list[Change] = [{}]
    for name in names:
        if name not in ABLATIONS:
            raise unknown("ablation", name, [*ABLATIONS, ALL])
        changes += grid_changes(ABLATIONS[name])
    return changes


def plan_cells(
    methods: Sequence[str],
    config: Config,
    changes: Sequence[Change],
    tasks: Mapping[str | int, int],
    *,
    finetune: bool = False,
) -> list[Cell]:
    """Return the cells of a sweep, each once.

    A change of a field that belongs to another method (``experts`` for experience replay)
    changes nothing; a group of more experts than tasks is a group of all.

    Parameters
    ----------
    changes
        Of ``config``; see `grid_changes` and `ablation_changes`.
    tasks
        Number of tasks by order.
    finetune
        Add the fine-tuning runs that the others' relative times need.

    Raises
    ------
    UsageError
        When a value is outside its range, or no method uses a field that is varied.
    """
    for name in dict.fromkeys(key for change in changes for key in change):
        if not any(uses(method, name) for method in methods):
            raise UsageError(
                f"field {name} is varied, but none of the methods {', '.join(methods)} uses it; "
                "nothing was run. Leave it out, or add a method that does."
            )
    cells = [
        _cell(method, config, change, order, count)
        for change in changes
        for method in methods
        for order, count in tasks.items()
    ]
    if finetune:
        cells += _missing_finetune(cells, config, tasks)
    return list({cell.name: cell for cell in cells}.values())


def plan_comparison(
    methods: Sequence[str],
    config: Config,
    seeds: Sequence[int],
    tasks: Mapping[str | int, int],
    own: Mapping[str, Change],
) -> list[Cell]:
    """Return the cells of a comparison: every method in every order under every run seed.

    The fine-tuning runs that relative times need are among them.

    Parameters
    ----------
    tasks
        Number of tasks by order.
    own
        Values by field that a method has for itself, by its name.
    """
    cells = [
        cell
        for method in methods
        for cell in plan_cells(
            [method], config, [{**own.get(method, {}), "seed": seed} for seed in seeds], tasks
        )
    ]
    return cells + _missing_finetune(cells, config, tasks)


def _missing_finetune(
    cells: Sequence[Cell], config: Config, tasks: Mapping[str | int, int]
) -> list[Cell]:
    """Return the fine-tuning of each order, seed and number of epochs that has none yet."""
    from bmc.report.load import BASE_OF_TIME

    there = {_pace(cell) for cell in cells if cell.method == BASE_OF_TIME}
    added = []
    for cell in cells:
        if _pace(cell) not in there:
            there.add(_pace(cell))
            change = {"epochs": cell.config.epochs, "seed": cell.config.seed}
            added.append(_cell(BASE_OF_TIME, config, change, cell.order, tasks[cell.order]))
    return added


def _pace(cell: Cell) -> tuple[Any, ...]:
    return cell.order, cell.config.seed, cell.config.epochs


def _cell(method: str, config: Config, change: Change, order: str | int, tasks: int) -> Cell:
    def limited(values: Change) -> Change:
        if not uses(method, "experts"):
            return values
        experts = values.get("experts", config.experts)
        return values | {"experts": tasks if experts == ALL else min(experts, tasks)}

    base = replace(config, **limited({}))
    used = {name: value for name, value in change.items() if uses(method, name)}
    made = replace(config, **limited(used))
    values, unchanged = made.as_dict(), base.as_dict()
    return Cell(
        method,
        made,
        order,
        tuple((name, v) for name, v in values.items() if v != unchanged[name]),
    )


def uses(method: str, name: str) -> bool:
    """Tell whether a method may depend on a field: the help of some begins with their methods."""
    from bmc.methods import METHODS

    said = next(f.metadata["help"] for f in fields(Config) if f.name == name)
    owners = set(said.partition(":")[0].split(", "))
    titles = {METHODS.get(known).title for known in METHODS.names()}
    return not owners & titles or METHODS.get(method).title in owners


def _value(text: str, name: str, kind: type, value: str) -> Any:
    """Read one value; its range is checked by `Config`."""
    if name == "experts" and value == ALL:
        return ALL
    try:
        if kind is bool:
            made: Any = {"true": True, "false": False}[value.lower()]
        else:
            made = kind(value)
        if isinstance(made, float) and not math.isfinite(made):
            raise ValueError
    except (KeyError, ValueError):
        expected = {bool: "true or false", int: "whole numbers", float: "numbers"}[kind]
        more = ", or all" if name == "experts" else ""
        raise UsageError(f"--grid {text}: expected {expected}{more}; got '{value}'.") from None
    Config(**{name: made})
    return made


def _plain(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    short = f"{value:g}" if isinstance(value, float) else str(value)
    return short if not isinstance(value, float) or float(short) == value else repr(value)
