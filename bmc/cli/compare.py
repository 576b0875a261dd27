"""The command ``bmc-stream compare``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from bmc.cli.options import with_config_options, with_stream_options
from bmc.cli.study import MethodOption, OrderOption, SeedsOption, carry_out, with_study_options
from bmc.config import Config, Overrides
from bmc.runs.choice import StreamChoice
from bmc.runs.orders import parse_orders
from bmc.studies.options import StudyOptions


@with_study_options
@with_config_options
@with_stream_options
def compare(
    choice: StreamChoice,
    config: Config,
    overrides: Overrides,
    options: StudyOptions,
    method: MethodOption = "all",
    order: OrderOption = "0..4",
    seeds: SeedsOption = 1,
    tuned: Annotated[
        Path | None,
        typer.Option(help="The tune.json of `bmc-stream tune`: values of methods, over others."),
    ] = None,
) -> None:
    """Compare methods over several orders: intervals, paired tests, costs; CSV, JSON, LaTeX, HTML.

    Every method gets the same epochs, batches, rates and memory. Fine-tuning is always among
    the runs, since its time is 100 % of relative time.
    """
    from bmc.studies.compare import compare_study

    study = compare_study(
        choice, config, overrides,
        methods=method, orders=parse_orders(order), seeds=seeds, tuned=tuned,
    )  # fmt: skip
    carry_out(study, options)
