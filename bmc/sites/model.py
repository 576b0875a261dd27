"""A base as files: what sites get, and beside it what the centre keeps to itself."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from autods.errors import UsageError
from bmc.config import Config
from bmc.methods import Method
from bmc.methods.message import Entry, Form
from bmc.methods.net_method import NetMethod
from bmc.network.mlp import ResidualMLP
from bmc.sites.errors import SiteFileDamaged
from bmc.sites.file import SiteFile, open_file, refuse_existing, write_file
from bmc.sites.headers import BaseHeader, CentreHeader, Plan, Taken
from bmc.sites.plan import config_of, make_plan, method_of

if TYPE_CHECKING:
    from bmc.runs.choice import StreamChoice

NET = "net."  # begins the names of what experts start from


@dataclass(frozen=True)
class Base:
    """An opened base: its file, and its method with what the file has of it."""

    file: SiteFile[BaseHeader]
    method: Method

    @property
    def plan(self) -> Plan:
        """What all sites agree on."""
        return self.file.header.plan

    @property
    def learned(self) -> int:
        """Number of tasks learned."""
        return self.file.header.learned


def centre_path(base: Path) -> Path:
    """Return the path of what the centre keeps beside a base: ``base.centre.safetensors``."""
    return base.with_name(f"{base.stem}.centre{base.suffix}")


def open_base(path: Path, device: torch.device) -> Base:
    """Open what sites get of a base: enough to train an expert.

    Raises `SiteFileDamaged` if the file is not a base, or was changed.
    """
    file = open_file(path, BaseHeader)
    plan = file.header.plan
    try:
        form = _form(plan, config_of(plan))
    except UsageError as error:
        file.refuse(f"a plan that is none ({error})")
    tensors = file.tensors(form)  # of the right size, so a network of this size can be made
    for name, tensor in tensors.items():
        if not bool(torch.isfinite(tensor).all()):
            file.refuse(f"values in {name} that are not finite")
    method = method_of(plan, device)
    method.seen = plan.starts()[file.header.learned]
    if isinstance(method, NetMethod):
        method.net.load_state_dict({name.removeprefix(NET): t for name, t in tensors.items()})
        method.net.eval()
    return Base(file, method)


def _form(plan: Plan, config: Config) -> Form:
    """Return the form of what sites get: the network, if experts begin with one."""
    from bmc.methods import METHODS

    if not METHODS.get(plan.method).has_experts:
        return Form([], {})
    with torch.device("meta"):  # nothing is allocated before the file is found to be as large
        net = ResidualMLP(plan.dim, plan.starts()[-1], **config.network())
    state = net.state_dict().items()
    return Form([[{NET + name: Entry(t.dtype, tuple(t.shape)) for name, t in state}]], {})


def open_whole(path: Path, device: torch.device) -> tuple[Base, SiteFile[CentreHeader] | None]:
    """Open a base with what the centre keeps; of the first base there is nothing.

    Raises
    ------
    UsageError
        When that is missing.
    SiteFileDamaged
        When it was changed, or belongs to another base.
    """
    base = open_base(path, device)
    header, method = base.file.header, base.method
    if header.centre is None:
        return base, None
    beside = centre_path(path)
    if not beside.is_file():
        raise UsageError(
            f"{beside}: expected what the centre keeps beside {path.name}, there is no such file; "
            "nothing was done. It never leaves the centre: run this command there."
        )
    kept = open_file(beside, CentreHeader)
    if kept.sha256 != header.centre:
        kept.refuse(f"the one of another base than {path}")
    try:
        state = kept.tensors() | base.file.tensors()
        method.load_state({name: tensor.to(device) for name, tensor in state.items()})
    except (KeyError, ValueError, RuntimeError, IndexError) as error:
        raise SiteFileDamaged(
            f"{beside}: its tensors are not those of {method.title} ({f'{error}'[:80]!r}); nothing "
            "was done. Consolidate again from the base before."
        ) from None
    for name in ("steps", "communication_bytes", "broadcast_bytes"):
        setattr(method, name, getattr(header, name))
    return base, kept


def write_first(
    path: Path,
    choice: StreamChoice,
    order: str | int,
    method: str,
    config: Config,
    dim: int | None,
) -> None:
    """Write the base that has learned nothing; arguments and errors as of `make_plan`."""
    refuse_existing(path)
    plan = make_plan(choice, order, method, config, dim)
    write_base(path, BaseHeader(plan=plan), method_of(plan, torch.device("cpu")))


def refuse_other_centre(path: Path, taken: list[Taken]) -> None:
    """Raise `UsageError` if what the centre keeps of another base lies beside a new one.

    A call that was cut short leaves its own, which the same call may find.
    """
    beside = centre_path(path)
    if beside.exists():
        try:
            same = open_file(beside, CentreHeader).header.taken == taken
        except (SiteFileDamaged, UsageError):
            same = False
        if not same:
            refuse_existing(beside)


def write_base(
    path: Path, header: BaseHeader, method: Method, taken: list[Taken] | None = None
) -> tuple[str, int]:
    """Write a base, and beside it what the centre keeps if it has taken in messages.

    Returns the sha256 and the size of what sites get.
    """
    state = method.state()
    public = {name: t for name, t in state.items() if name.startswith(NET) and method.has_experts}
    if taken is not None:
        own: dict[str, Tensor] = {name: t for name, t in state.items() if name not in public}
        kept = CentreHeader(plan=header.plan.digest(), learned=header.learned, taken=taken)
        digest, _ = write_file(centre_path(path), kept, own)
        header = header.model_copy(update={"centre": digest})
    counters = ("steps", "communication_bytes", "broadcast_bytes")
    header = header.model_copy(update={name: getattr(method, name) for name in counters})
    return write_file(path, header, public)
