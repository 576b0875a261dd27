"""The command ``bmc-stream sweep``."""

from __future__ import annotations

from typing import Annotated

import typer

from bmc.cli.options import with_config_options, with_stream_options
from bmc.cli.study import GridOption, MethodOption, OrderOption, carry_out, with_study_options
from bmc.config import Config, Overrides
from bmc.runs.choice import StreamChoice
from bmc.runs.orders import parse_orders
from bmc.studies.options import ABLATIONS, StudyOptions


@with_study_options
@with_config_options
@with_stream_options
def sweep(
    choice: StreamChoice,
    config: Config,
    overrides: Overrides,
    options: StudyOptions,
    method: MethodOption = "bmc",
    grid: GridOption = [],  # noqa: B006 - typer copies it
    ablation: Annotated[
        str,
        typer.Option(
            help=f"Ablations of the paper, comma-separated, or 'all': {', '.join(ABLATIONS)}."
        ),
    ] = "",
    order: OrderOption = "paper",
    finetune: Annotated[
        bool, typer.Option("--with-finetune", help="Add fine-tuning, for the relative times.")
    ] = False,
) -> None:
    """Run grids of hyper-parameters or the paper's ablations, and compare cost and accuracy."""
    from bmc.studies.sweep import sweep_study

    study = sweep_study(
        choice, config, overrides, methods=method, orders=parse_orders(order), grid=grid,
        ablation=ablation, finetune=finetune,
    )  # fmt: skip
    carry_out(study, options)
