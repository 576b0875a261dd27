"""The command ``bmc-stream tune``."""

from __future__ import annotations

from autods.core.console import print_next
from autods.core.shell import quoted
from bmc.cli.options import with_config_options, with_stream_options
from bmc.cli.study import (
    GridOption,
    MethodOption,
    OrderOption,
    SeedsOption,
    carry_out,
    with_study_options,
)
from bmc.config import Config, Overrides
from bmc.runs.choice import StreamChoice
from bmc.runs.orders import parse_orders
from bmc.studies.options import StudyOptions


@with_study_options
@with_config_options
@with_stream_options
def tune(
    choice: StreamChoice,
    config: Config,
    overrides: Overrides,
    options: StudyOptions,
    grid: GridOption,
    method: MethodOption = "bmc",
    order: OrderOption = "0..2",
    seeds: SeedsOption = 1,
) -> None:
    """Choose hyper-parameters of each method on development data, for `compare --tuned`."""
    from bmc.studies.tune import tune_study

    study = tune_study(
        choice, config, overrides,
        grid=grid, methods=method, orders=parse_orders(order), seeds=seeds,
    )  # fmt: skip
    folder = carry_out(study, options)
    if not (options.list or options.json):
        tuned = quoted(folder / "tune.json")
        step = f"bmc-stream compare --tuned {tuned} --scenario {choice.scenario} --stream OTHERS"
        print_next(step, quiet=options.quiet)
