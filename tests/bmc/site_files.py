"""Bases and messages of a small generated stream, and ways to change them, for tests of sites."""

from pathlib import Path

from bmc.config import Config
from bmc.methods import config_for
from bmc.runs.choice import StreamChoice
from bmc.sites.consolidate import Consolidated, consolidate
from bmc.sites.expert import train_expert
from bmc.sites.file import SiteFile, open_file, write_file
from bmc.sites.headers import MessageHeader
from bmc.sites.model import write_first

TASKS = ["aircraft", "apparel", "aptos2019"]
OWN = {
    "bmc": {"experts": 2, "buffer": 24, "consolidation_epochs": 2},
    "bmc-gaussian": {"experts": 2, "buffer": 24, "draws": 2, "consolidation_epochs": 2},
    "bmc-analytic": {"rank": 8},
}


def first_base(path: Path, method: str = "bmc", **changes: object) -> Path:
    """Write the base of three generated tasks, aircraft and apparel in the first group of BMC."""
    options = {"tasks": 3, "order": "paper", "scale": 1e-4, "seed": 0} | changes
    choice = StreamChoice(
        "class-il", "synthetic", max_tasks=options["tasks"], scale=options["scale"]
    )
    own = OWN[method] | {name: changes[name] for name in ("expert_rows",) if name in changes}
    config = config_for(method, Config(epochs=1, memory=40, seed=options["seed"]), {method: own})
    write_first(path, choice, options["order"], method, config, None)
    return path


def message(base: Path, task: str, folder: Path | None = None, part: int = 0) -> Path:
    """Write the message about a task, or a part of it, beside its base or elsewhere."""
    path = (folder or base.parent) / f"{base.name}-{task}{part or ''}"
    train_expert(base, task, path, part=part)
    return path


def opened(path: Path) -> SiteFile[MessageHeader]:
    return open_file(path, MessageHeader)


def changed(path: Path, tensors: dict[str, object] | None = None, **header: object) -> Path:
    """Write a message anew with other tensors (``None``: without one) or header, well signed."""
    before = opened(path)
    made = before.tensors() | (tensors or {})
    made = {name: tensor for name, tensor in made.items() if tensor is not None}
    out = path.with_name(f"{path.name}-changed-{len(list(path.parent.iterdir()))}")
    write_file(out, before.header.model_copy(update=header), made)
    return out


def next_base(base: Path, *messages: Path) -> Consolidated:
    """Consolidate to a file that no other call writes."""
    return consolidate(base, messages, base.with_name(f"next-{len(list(base.parent.iterdir()))}"))
