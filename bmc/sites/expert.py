"""One expert, trained where the data of its task are, and the message that it sends."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from autods.core.cores import intra_op_threads
from autods.errors import FeatureMismatch, UsageError
from bmc.engines.base import use_precision
from bmc.sites.data import differing, encoder_of, left_out, open_tasks, tensors_of
from bmc.sites.errors import LateMessage
from bmc.sites.file import refuse_existing, write_file
from bmc.sites.headers import MessageHeader, versions
from bmc.sites.model import Base, open_base
from bmc.sites.plan import empty_tasks, group_of, number_of

if TYPE_CHECKING:
    from autods.manifest.catalogue import Catalogue
    from autods.streams.stream import Stream


@dataclass(frozen=True)
class Sent:
    """A message that was written.

    Attributes
    ----------
    tensors
        Shape of each tensor.
    notes
        What the site should know, a line each.
    """

    header: MessageHeader
    size: int
    tensors: dict[str, list[int]]
    notes: list[str]


@intra_op_threads(1)  # as a run: the last bits of sums depend on it
def train_expert(
    base_path: Path,
    dataset: str,
    out: Path,
    *,
    task: str | None = None,
    part: int = 0,
    root: Path | None = None,
    catalogue: Catalogue | None = None,
    device: torch.device | None = None,
) -> Sent:
    """Train the expert of one task on the data here and write its message.

    Parameters
    ----------
    dataset
        What the dataset is called here.
    task
        Name of the task in the base; default: the dataset's.
    part
        Of a task that BMC's ``expert_rows`` cuts: train only this one of its experts, counted
        from 1; each is a message of its own.

    Raises
    ------
    SiteFileDamaged
        When the base is not as it was written.
    LateMessage
        When the base has learned the task already.
    FeatureMismatch
        When the features are not those of the base's encoder.
    UnknownName, UsageError, FeaturesMissing
        When the base has no such task or learns it later, the data have not its classes or are
        not here, the method cannot learn them, or ``out`` exists.
    """
    refuse_existing(out)
    device = device or torch.device("cpu")
    base = open_base(base_path, device)
    plan, header = base.plan, base.file.header
    number = number_of(plan, task or dataset)
    group = _group(base, number)
    stream = open_tasks(plan, [number], root, catalogue, dataset)
    encoder = encoder_of(stream)
    if header.encoder is not None and (fact := differing(header.encoder, encoder)) is not None:
        raise FeatureMismatch(
            f"expected features of the encoder that the other sites use, got another one: {fact}; "
            "nothing was trained. Extract them with that one."
        )
    _check_fit(base, stream)
    tasks = tensors_of(plan, [number], stream, device)
    use_precision(base.method.config)
    labels = tasks[number].train.labels - tasks[number].start
    counts = torch.bincount(labels, minlength=tasks[number].n_classes).tolist()
    message = base.method.message(tasks[number], [tasks[k] for k in group], part)
    made = MessageHeader(
        method=plan.method,
        config=plan.config_digest(),
        plan=plan.digest(),
        base=base.file.sha256,
        learned=header.learned,
        task=plan.tasks[number].name,
        part=part or 1,
        parts=message.parts,
        classes=plan.tasks[number].classes,
        counts=counts,
        encoder_name=plan.encoder,
        encoder=encoder,
        steps=list(message.steps),
    )
    _, size = write_file(out, made, message.tensors)
    shapes = {name: list(tensor.shape) for name, tensor in message.tensors.items()}
    return Sent(made, size, shapes, _notes(base, number, root, dataset, counts))


def _group(base: Base, number: int) -> list[int]:
    """Return the tasks of the group that a task is learned in, which must be the next one.

    Messages that do not depend on the base may be made at any time before.
    """
    plan, learned, name = base.plan, base.learned, base.plan.tasks[number].name
    if number < learned:
        raise LateMessage(
            f"task '{name}' is learned already by {base.file.path}, which has learned {learned} of "
            f"{len(plan.tasks)} tasks; nothing was trained. There is nothing left to do."
        )
    group = group_of(base.method, plan, learned)
    if not base.method.has_experts:
        return [number]
    if number not in group:
        now = ", ".join(f"'{plan.tasks[k].name}'" for k in group)
        raise UsageError(
            f"task '{name}' is learned later: {base.file.path} is the base of {now}; nothing was "
            f"trained. Wait for the base that has learned the tasks before."
        )
    return list(group)


def _check_fit(base: Base, stream: Stream) -> None:
    """Refuse a task that the method cannot learn."""
    if (reason := type(base.method).unfit(stream, base.method.config)) is not None:
        raise UsageError(f"{reason} Nothing was trained.")


def _notes(
    base: Base, number: int, root: Path | None, dataset: str, counts: list[int]
) -> list[str]:
    """Return what is not wrong, but not as one may expect."""
    task, theirs = base.plan.tasks[number], base.file.header.versions
    notes = left_out(base.plan, task, root, dataset)
    if empty := [name for name, count in zip(task.classes, counts, strict=True) if not count]:
        notes.append(f"classes without a training sample: {', '.join(empty[:5])}")
    for name, own in versions().items():
        if theirs.get(name) != own:
            notes.append(
                f"the base was made with {name} {theirs.get(name)!r:.40}, here is {own}: last bits "
                "may differ from those of a run"
            )
    return notes


def tasks_next(base: Base) -> list[str]:
    """Return the names of the tasks that are learned next."""
    names = [task.name for task in empty_tasks(base.plan, torch.device("cpu"))]
    return [names[k] for k in group_of(base.method, base.plan, base.learned)]
