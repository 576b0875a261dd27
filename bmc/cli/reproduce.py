"""The command ``bmc-stream reproduce``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from autods.errors import UsageError
from bmc.cli.command import sections_for
from bmc.cli.study import MethodOption, carry_out, with_study_options
from bmc.studies.options import StudyOptions


@with_study_options
def reproduce(
    experiment: Annotated[
        str, typer.Argument(help="stream-clip, split-cifar100 or split-tinyimagenet.")
    ],
    options: StudyOptions,
    method: MethodOption = "all",
    seeds: Annotated[int, typer.Option(min=1, help="Number of run seeds: 0, 1, ...")] = 1,
    max_tasks: Annotated[
        int | None, typer.Option(min=1, help="Keep only the first tasks: a trial.")
    ] = None,
    encoder: Annotated[
        str, typer.Option(help="Encoder whose features are used, if not that of the experiment.")
    ] = "",
    preset: Annotated[
        str, typer.Option(help="Settings: published-code, or paper for the poster's equations.")
    ] = "published-code",
    root: Annotated[
        Path | None, typer.Option(help="Data root; default AUTODS_ROOT, else the user's folder.")
    ] = None,
) -> None:
    """Run a published experiment with a preset, and print ours beside the published figures.

    Tasks in the published order, class-il, protocol paper. What differs is listed.
    """
    from bmc.studies.reproduce import reproduce_study

    if sections := sections_for("all"):
        raise UsageError(
            f"--config: {', '.join(sections)}: reproduce takes its options from --preset, "
            "expected no section of a method; nothing was run. Use `bmc-stream compare` for others."
        )
    study = reproduce_study(
        experiment,
        methods=method,
        seeds=seeds,
        max_tasks=max_tasks,
        encoder=encoder,
        root=root,
        preset=preset,
    )
    carry_out(study, options)
