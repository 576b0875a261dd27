"""What a command line can say of a study; imported by ``--help``, so nothing heavy is here."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

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


def _option(default: Any, text: str, **more: Any) -> Any:
    return field(default=default, metadata={"help": text, **more})


@dataclass(frozen=True)
class StudyOptions:
    """How the runs of a study are executed, and where they go."""

    jobs: int = _option(1, "Runs at once; more of them disturb each other's times.", min=1)
    threads: int = _option(
        1, "Threads of each run; last bits of results depend on it.", min=1, hidden=True
    )
    runner: str = _option(
        "local", "What executes runs: local processes, or tasks of a ray cluster.", hidden=True
    )
    ray_address: str | None = _option(
        None, "ray: host:port of a cluster, or auto; default: a cluster of its own.", hidden=True
    )
    device: str = _option("auto", "auto, cpu, cuda or cuda:N.")
    out: Path | None = field(
        default=None,
        metadata={"help": "Folder for the runs; default runs/STREAM-SCENARIO-COMMAND."},
    )
    resume: bool = _option(False, "Complete or extend what is in the folder.", flag=True)
    list: bool = _option(False, "Print what would be run, and end.", flag=True)
    quiet: bool = _option(False, "Show no progress, no next step.", flag=True)
    json: bool = _option(False, "Print JSON for programs.", flag=True)
