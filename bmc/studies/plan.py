"""Which runs a study makes: methods, orders and seeds, and the settings that vary among them.

How runs are executed is in `bmc.studies.execute`; from plan to report leads `bmc.studies.engine`.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, get_type_hints

from autods.core.registry import unknown
from autods.errors import UsageError
from bmc.config import ALIASES, Config, Overrides
from bmc.methods import METHODS
from bmc.methods.overrides import config_for, field_of, fields_of, typed
from bmc.report.load import BASE_OF_TIME
from bmc.runs.grid import common_step, group_size
from bmc.runs.identity import label_of
from bmc.runs.orders import Order
from bmc.studies.options import ABLATIONS

ALL = "all"  # bmc.experts=all: one group of all tasks
Change = dict[str, Any]  # values by FIELD (for all methods that read it) or METHOD.FIELD


@dataclass(frozen=True)
class PlannedRun:
    """One run of a study; ``changes`` are the values in which ``config`` differs from its own."""

    method: str
    config: Config
    order: Order
    changes: tuple[tuple[str, Any], ...] = ()

    @property
    def label(self) -> str:
        """What people call the run: no two runs of a study have the same label."""
        changes = (
            f"{name.replace('_', '-')}-{_plain(value)}"
            for name, value in self.changes
            if name != "seed"
        )
        return label_of(self.method, self.order, self.config.seed, *changes)


@dataclass(frozen=True)
class Design:
    """What the runs of a study have in common, and around which settings vary."""

    methods: Sequence[str]  # all can learn the stream
    config: Config
    overrides: Overrides  # values of single methods over those of config
    tasks: Mapping[Order, int]  # number of tasks by order

    def expand(self, changes: Iterable[Change]) -> list[PlannedRun]:
        """Return the runs of all methods and orders with each of these changes, each run once.

        A change of a field that a method does not read changes nothing for it; one that no
        method reads is refused. A group of more experts than tasks is a group of all.
        """
        changes = list(changes)
        for key in dict.fromkeys(key for change in changes for key in change):
            self._check_read(key)
        planned = (
            self._run(method, change, order)
            for method in self.methods
            for change in changes
            for order in self.tasks
        )
        return list({run.label: run for run in planned}.values())

    def with_finetune(self, runs: Sequence[PlannedRun]) -> list[PlannedRun]:
        """Add the fine-tuning that relative times need: of each order, seed, number of epochs."""

        def pace(run: PlannedRun) -> tuple[Any, ...]:
            return run.order, run.config.seed, run.config.epochs

        known = {pace(run) for run in runs if run.method == BASE_OF_TIME}
        needed = {pace(run): run for run in runs if pace(run) not in known}
        added = [
            self._run(BASE_OF_TIME, {"epochs": epochs, "seed": seed}, order)
            for order, seed, epochs in needed
        ]
        return [*runs, *added]

    def on_one_grid(self, runs: Sequence[PlannedRun]) -> list[PlannedRun]:
        """Have all runs measured after the same tasks, unless they say after which.

        They are those of the largest group, groups of all tasks aside.
        """
        step = common_step(
            (group_size(run.method, run.config, tasks), tasks)
            for run in runs
            for tasks in (self.tasks[run.order],)
        )
        return [
            replace(
                run, config=replace(run.config, evaluate_every=run.config.evaluate_every or step)
            )
            for run in runs
        ]

    def _check_read(self, key: str) -> None:
        if not any(concerns(key, method) for method in self.methods):
            fields = dict.fromkeys(field for method in self.methods for field in fields_of(method))
            raise UsageError(
                f"--grid {key}: expected a field that one of the methods reads: "
                f"{', '.join(fields) or 'none'}; none of {', '.join(self.methods)} reads {key}. "
                "Nothing was run. Leave it out, or add a method that does."
            )

    def _run(self, method: str, change: Change, order: Order) -> PlannedRun:
        values = {
            key.rpartition(".")[2]: value for key, value in change.items() if concerns(key, method)
        }
        config, unchanged = (self._config(method, v, order) for v in (values, {}))
        before = unchanged.flat()
        changes = tuple((k, v) for k, v in config.flat().items() if v != before[k])
        return PlannedRun(method, config, order, changes)

    def _config(self, method: str, values: Change, order: Order) -> Config:
        tasks = self.tasks[order]
        values = {**self.overrides.get(method, {}), **values}
        if values.get("experts") == ALL:
            values["experts"] = tasks
        seeded = replace(self.config, seed=values.pop("seed", self.config.seed))
        config = config_for(method, seeded, {method: values})
        if getattr(config.options, "experts", 0) > tasks:
            config = replace(config, options=replace(config.options, experts=tasks))
        return config


def concerns(key: str, method: str) -> bool:
    """Tell whether a change of ``key`` concerns a method; a seed concerns all."""
    name, dot, field = key.rpartition(".")
    return name == method if dot else field == "seed" or METHODS.get(method).reads(field)


def parse_grid(text: str) -> tuple[str, list[Any]]:
    """Read ``field=value,value`` or ``method.field=...``; return the key and its typed values.

    Refuses fields that do not exist, and values of another type or outside their range.
    """
    path, equals, listed = text.partition("=")
    method, dot, field = path.strip().rpartition(".")
    values = [part.strip() for part in listed.split(",") if part.strip()]
    if not equals or not values:
        raise UsageError(f"--grid {text}: expected FIELD=VALUE,VALUE; got no value.")
    if dot:
        field = field_of(method, field)
        kind = fields_of(method)[field]
    else:
        field = _shared_field(field)
        kind = get_type_hints(Config)[field]
    typed_values = []
    for value in values:
        if field == "experts" and value == ALL:
            typed_values.append(value)
            continue
        made = typed(kind, value)
        try:
            config_for(method, Config(), {method: {field: made}}) if dot else Config(
                **{field: made}
            )
        except UsageError as error:
            raise UsageError(f"--grid {text}: {error}") from None
        typed_values.append(made)
    return f"{method}{dot}{field}", list(dict.fromkeys(typed_values))


def _shared_field(text: str) -> str:
    field = text.replace("-", "_")
    field = ALIASES.get(field, field)
    if field in Config.names():
        return field
    owners = [name for name in METHODS.names() if field in METHODS.get(name).Options.names()]
    if owners:
        raise UsageError(
            f"--grid {text}: expected METHOD.{field}, since {field} is an option of single "
            f"methods: {', '.join(owners)}. Nothing was run."
        )
    raise unknown("field", text, [*Config.names(), *ALIASES])


def parse_grids(texts: Iterable[str]) -> dict[str, list[Any]]:
    """Return the values of each field of several grids; no field may be named twice."""
    grids: dict[str, list[Any]] = {}
    for text in texts:
        key, values = parse_grid(text)
        if key in grids:
            raise UsageError(
                f"--grid {text}: field {key} is named twice; expected all its values in one "
                f"--grid {key}=..."
            )
        grids[key] = values
    return grids


def combinations(grids: Mapping[str, Sequence[Any]]) -> list[Change]:
    """Return the product of grids: one change for each combination of values."""
    return [dict(zip(grids, chosen, strict=True)) for chosen in itertools.product(*grids.values())]


def grid_changes(texts: Iterable[str]) -> list[Change]:
    """Return one change for each combination of the values of grids."""
    return combinations(parse_grids(texts))


def ablation_changes(text: str) -> list[Change]:
    """Return the changes of ablations, comma-separated or ``all``, the unchanged one first."""
    names = list(ABLATIONS) if text == ALL else [part for part in text.split(",") if part]
    changes: list[Change] = [{}]
    for name in names:
        if name not in ABLATIONS:
            raise unknown("ablation", name, [*ABLATIONS, ALL])
        changes += grid_changes(ABLATIONS[name])
    return changes


def _plain(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    short = f"{value:g}" if isinstance(value, float) else str(value)
    return short if not isinstance(value, float) or float(short) == value else repr(value)
