"""What a sweep runs: grids and ablations as cells, each an ordinary run with a readable name.

How cells are run is in `bmc.studies.workers`, what they gave in `bmc.studies.sweep_table`.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, get_type_hints

from autods.core.registry import unknown
from autods.errors import UnknownName, UsageError
from bmc.config import ALIASES, Config, Overrides

ALL = "all"  # bmc.experts=all: one group of all tasks
Change = dict[str, Any]  # values by shared field or by METHOD.FIELD
# The paper's ablations by name: each a grid around the configuration that is asked for.
ABLATIONS: dict[str, tuple[str, ...]] = {
    "stability": ("bmc.lam=0",),  # experts without stability loss
    "distillation": ("bmc.beta=0",),  # consolidation without batched distillation
    "neither": ("bmc.lam=0", "bmc.beta=0"),
    "experts": ("bmc.experts=1,2,4,8,16,all",),  # group sizes
    "buffer": ("bmc.buffer=50,125,250,500,1000",),
    "memory": ("bmc.memory=500,1000,2000,4000,8000",),
    "lam": ("bmc.lam=0.001,0.01,0.1,1",),
    "alpha": ("bmc.alpha=0.1,0.5,1,2",),
    "beta": ("bmc.beta=0.001,0.01,0.1,1",),
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
    """Read ``field=value,value`` or ``method.field=...``; return the key and its typed values.

    Raises
    ------
    UsageError, UnknownName
        When there is no such field, or a value is of another type or outside its range.
    """
    from bmc.methods import METHODS
    from bmc.methods.overrides import config_for, field_of, fields_of, typed

    path, equals, listed = text.partition("=")
    method, dot, field = path.strip().rpartition(".")
    values = [part.strip() for part in listed.split(",") if part.strip()]
    if not equals or not values:
        raise UsageError(f"--grid {text}: expected FIELD=VALUE,VALUE; got no value.")
    if dot:
        field = field_of(method, field)
        kind = fields_of(method)[field]
    else:
        field = field.replace("-", "_")
        field = ALIASES.get(field, field)
        if field not in Config.names():
            every = [f"{name}.{own}" for name in METHODS.names()
                     for own in METHODS.get(name).Options.names()]  # fmt: skip
            raise UnknownName(f"--grid {text}: {unknown('option', field, Config.names() + every)}")
        kind = get_type_hints(Config)[field]
    parsed = []
    for value in values:
        made: Any = value if field == "experts" and value == ALL else typed(kind, value)
        if made != ALL:
            try:
                if dot:
                    config_for(method, Config(), {method: {field: made}})
                else:
                    Config(**{field: made})
            except UsageError as error:
                raise UsageError(f"--grid {text}: {error}") from None
        parsed.append(made)
    return f"{method}{dot}{field}", list(dict.fromkeys(parsed))


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
    overrides: Overrides | None = None,
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
    overrides
        Values that single methods are given; see `bmc.methods.overrides_of`.
    finetune
        Add the fine-tuning runs that the others' relative times need.

    Raises
    ------
    UsageError
        When a value is outside its range, or no method uses a field that is varied.
    """
    overrides = overrides or {}
    for key in dict.fromkeys(key for change in changes for key in change):
        if not any(uses(method, key) for method in methods):
            raise UsageError(
                f"{key} is varied, but none of the methods {', '.join(methods)} reads it; "
                "nothing was run. Leave it out, or add a method that does."
            )
    cells = [
        _cell(method, config, overrides, change, order, count)
        for change in changes
        for method in methods
        for order, count in tasks.items()
    ]
    if finetune:
        cells += _missing_finetune(cells, config, overrides, tasks)
    return list({cell.name: cell for cell in cells}.values())


def plan_comparison(
    methods: Sequence[str],
    config: Config,
    seeds: Sequence[int],
    tasks: Mapping[str | int, int],
    overrides: Overrides,
) -> list[Cell]:
    """Return the cells of a comparison: every method in every order under every run seed.

    The fine-tuning runs that relative times need are among them.

    Parameters
    ----------
    tasks
        Number of tasks by order.
    overrides
        Values that single methods are given; see `bmc.methods.overrides_of`.
    """
    cells = [
        cell
        for method in methods
        for cell in plan_cells(
            [method], config, [{"seed": seed} for seed in seeds], tasks, overrides=overrides
        )
    ]
    return cells + _missing_finetune(cells, config, overrides, tasks)


def _missing_finetune(
    cells: Sequence[Cell], config: Config, overrides: Overrides, tasks: Mapping[str | int, int]
) -> list[Cell]:
    """Return the fine-tuning of each order, seed and number of epochs that has none yet."""
    from bmc.report.load import BASE_OF_TIME

    there = {_pace(cell) for cell in cells if cell.method == BASE_OF_TIME}
    added = []
    for cell in cells:
        if _pace(cell) not in there:
            there.add(_pace(cell))
            change = {"epochs": cell.config.epochs, "seed": cell.config.seed}
            count = tasks[cell.order]
            added.append(_cell(BASE_OF_TIME, config, overrides, change, cell.order, count))
    return added


def _pace(cell: Cell) -> tuple[Any, ...]:
    return cell.order, cell.config.seed, cell.config.epochs


def _cell(
    method: str,
    config: Config,
    overrides: Overrides,
    change: Change,
    order: str | int,
    tasks: int,
) -> Cell:
    from bmc.methods import METHODS, config_for

    given = overrides.get(method, {})
    used = {key.rpartition(".")[2]: value for key, value in change.items() if uses(method, key)}

    def limited(values: dict[str, Any]) -> Config:
        if "experts" in METHODS.get(method).Options.names():
            experts = values.get("experts", METHODS.get(method).configured(config).options.experts)
            values = values | {"experts": tasks if experts == ALL else min(experts, tasks)}
        seed = {"seed": values["seed"]} if "seed" in values else {}
        rest = {name: value for name, value in values.items() if name != "seed"}
        return config_for(method, replace(config, **seed), {method: rest})

    made = limited(given | used)
    unchanged = limited(given).flat()
    changes = ((name, v) for name, v in made.flat().items() if v != unchanged[name])
    return Cell(method, made, order, tuple(changes))


def uses(method: str, key: str) -> bool:
    """Tell whether a change of ``key`` concerns a method; a seed concerns all."""
    from bmc.methods import METHODS

    name, dot, field = key.rpartition(".")
    return name == method if dot else field == "seed" or METHODS.get(method).reads(field)


def _plain(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    short = f"{value:g}" if isinstance(value, float) else str(value)
    return short if not isinstance(value, float) or float(short) == value else repr(value)
