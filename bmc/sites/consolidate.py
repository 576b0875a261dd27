"""The centre: messages are checked, told apart, and made into the next base."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from autods.core.cores import intra_op_threads
from autods.core.output import some_of
from autods.errors import UsageError
from bmc.methods.message import Form, Message
from bmc.sites.data import differing
from bmc.sites.errors import DoubledMessage, ForeignMessage, LateMessage, MessagesMissing
from bmc.sites.file import SiteFile, open_file, refuse_existing
from bmc.sites.headers import BaseHeader, MessageHeader, Taken, versions
from bmc.sites.model import Base, open_whole, refuse_other_centre, write_base
from bmc.sites.plan import empty_tasks, group_of

NOTHING = "nothing was consolidated"
SHOWN = 6  # missing messages that an error names
Opened = SiteFile[MessageHeader]


@dataclass(frozen=True)
class Consolidated:
    """What became of messages.

    Attributes
    ----------
    taken
        Names of the tasks learned, in their order.
    learned, tasks
        Number of tasks learned so far, and of all.
    following
        Names of the tasks of the next group.
    """

    taken: list[str]
    learned: int
    tasks: int
    size: int
    following: list[str]
    notes: list[str]


@intra_op_threads(1)  # as a run: the last bits of sums depend on it
def consolidate(
    base_path: Path, messages: Sequence[Path], out: Path, device: torch.device | None = None
) -> Consolidated:
    """Make the next base of a base and one message about each task of the next group.

    The order of ``messages`` has no effect. A method whose experts do not need the base takes in
    several groups at once.

    Raises
    ------
    SiteFileDamaged, ForeignMessage, LateMessage, DoubledMessage, MessagesMissing
        See `bmc.sites.errors`; in all cases nothing is written.
    UsageError
        When a file is missing, ``out`` or another base's file beside it exists, or all tasks are
        learned.
    """
    refuse_existing(out)
    base, kept = open_whole(base_path, device or torch.device("cpu"))
    method, plan = base.method, base.plan
    if base.learned == len(plan.tasks):
        raise UsageError(
            f"{base_path} has learned all {base.learned} tasks; {NOTHING}. Measure it with "
            "`bmc-stream evaluate`."
        )
    if not messages:
        raise UsageError(f"expected the messages of sites, got none; {NOTHING}.")
    taken = list(kept.header.taken) if kept is not None else []
    files = [open_file(path, MessageHeader) for path in messages]
    opened = _by_task(base, files, taken)
    encoder = _one_encoder(base.file.header.encoder, files)
    read = {number: _read(base, parts, number) for number, parts in opened.items()}
    groups = _groups(base, opened)
    places = empty_tasks(plan, method.device)
    if method.has_experts:
        method.broadcast_bytes += base.file.size * len(files)
    taken += [
        Taken(task=file.header.task, sha256=file.sha256, bytes=file.size)
        for group in groups
        for k in group
        for file in opened[k]
    ]
    refuse_other_centre(out, taken)
    for group in groups:
        method.take_in([places[k] for k in group], [read[k] for k in group])
    learned = groups[-1].stop
    header = BaseHeader(plan=plan, learned=learned, encoder=encoder, previous=base.file.sha256)
    _, size = write_base(out, header, method, taken)
    following = [plan.tasks[k].name for k in group_of(method, plan, learned)]
    names = [plan.tasks[k].name for group in groups for k in group]
    return Consolidated(names, learned, len(plan.tasks), size, following, _notes(files))


def _number(base: Base, message: Opened) -> int:
    return [task.name for task in base.plan.tasks].index(message.header.task)


def _by_task(
    base: Base, messages: Sequence[Opened], taken: Sequence[Taken]
) -> dict[int, list[Opened]]:
    """Return the messages about each task, by its number, in the order of its parts.

    Those that do not belong here, and all but one of several, are refused.
    """
    found: dict[int, list[Opened]] = {}
    for message in messages:
        _check_origin(base, message)
        _check_time(base, message, taken)
        header = message.header
        for first in found.setdefault(_number(base, message), []):
            other = first.header
            if first.sha256 == message.sha256:
                how = "the same message"
            elif other.parts != header.parts:
                how = f"of {other.parts} and of {header.parts} messages"
            elif other.part == header.part:
                how = "different messages"
            elif other.counts != header.counts:
                how = "parts of different data"
            else:
                continue
            raise DoubledMessage(
                f"{first.path} and {message.path} are {how} about task '{header.task}'; expected "
                f"one, or all parts of one; {NOTHING}. Leave one of them out."
            )
        found[_number(base, message)].append(message)
    return {k: sorted(parts, key=lambda p: p.header.part) for k, parts in found.items()}


def _check_origin(base: Base, message: Opened) -> None:
    """Refuse a message of another plan, and say in what it differs."""
    header, plan = message.header, base.plan
    if header.plan == plan.digest():
        if header.task in {task.name for task in plan.tasks}:
            return
        message.refuse(f"a task that its own plan does not have, {header.task!r:.60}")
    pairs = {
        "method": (plan.method, header.method),
        "encoder": (plan.encoder, header.encoder_name),
        "configuration": (plan.config_digest()[:12], header.config[:12]),
    }
    for what, (ours, theirs) in pairs.items():
        if ours != theirs:
            raise _foreign(message, f"of another {what}: expected {ours}, got {theirs}")
    known = {task.name: task for task in plan.tasks}.get(header.task)
    if known is None:
        raise _foreign(message, f"about task '{header.task}', which this base does not have")
    strange = [name for name in header.classes if name not in known.classes]
    if strange:
        names = ", ".join(f"'{name}'" for name in strange[:5])
        raise _foreign(message, f"about classes that '{known.name}' does not have here: {names}")
    lacking = [name for name in known.classes if name not in header.classes]
    if lacking:
        names = ", ".join(f"'{name}'" for name in lacking[:5])
        raise _foreign(message, f"without classes that '{known.name}' has here: {names}")
    raise _foreign(message, "of another stream: its tasks, their order or their classes differ")


def _foreign(message: Opened, what: str) -> ForeignMessage:
    return ForeignMessage(
        f"{message.path} belongs to another base: it is {what}; {NOTHING}. Leave it out, or have "
        "it made again with `bmc-stream expert --base` and this base."
    )


def _check_time(base: Base, message: Opened, taken: Sequence[Taken]) -> None:
    """Refuse a message that comes too late or too early, or whose expert had another base."""
    header, where, number = message.header, message.path, _number(base, message)
    again = "Leave it out." if number < base.learned else "Have it made again with this base."
    if message.sha256 in {one.sha256 for one in taken}:
        raise LateMessage(f"{where} was taken in before, by an earlier base; {NOTHING}. {again}")
    if number < base.learned:
        raise LateMessage(
            f"{where} comes late: task '{header.task}' is learned already; {NOTHING}. {again}"
        )
    if not base.method.has_experts or header.base == base.file.sha256:
        return
    if header.learned < base.learned:
        raise LateMessage(
            f"{where} comes late: it was made from an older base, which had learned "
            f"{header.learned} tasks; this one has learned {base.learned}; {NOTHING}. {again}"
        )
    raise _foreign(
        message,
        f"made from a base that had learned {header.learned} tasks and is not this one, which has "
        f"learned {base.learned}",
    )


def _groups(base: Base, opened: Mapping[int, Sequence[Opened]]) -> list[range]:
    """Return the groups that the messages complete; refuse what leaves one incomplete."""
    groups: list[range] = []
    learned, left = base.learned, set(opened)
    while left:
        group = group_of(base.method, base.plan, learned)
        missing = [text for k in group for text in _missing(base.plan.tasks[k].name, opened.get(k))]
        if missing:
            raise MessagesMissing(
                f"expected messages about each of the {len(group)} tasks that are learned next; "
                f"none is about {some_of(missing, SHOWN)}; {NOTHING}. Wait for what is missing, "
                "then give all messages at once."
            )
        groups.append(group)
        left -= set(group)
        learned = group.stop
    return groups


def _missing(name: str, parts: Sequence[Opened] | None) -> list[str]:
    """Return what is missing about a task."""
    if not parts:
        return [f"'{name}'"]
    here, count = {message.header.part for message in parts}, parts[0].header.parts
    return [f"part {k} of {count} of '{name}'" for k in range(1, count + 1) if k not in here]


def _one_encoder(known: dict[str, Any] | None, messages: Sequence[Opened]) -> dict[str, Any]:
    """Return the encoder's provenance, in which all must agree."""
    agreed = messages[0].header.encoder if known is None else known
    for message in messages:
        if (fact := differing(agreed, message.header.encoder)) is not None:
            other = messages[0].path if known is None else "the base"
            raise _foreign(message, f"of another encoder than {other}: {fact}")
    return agreed


def _read(base: Base, parts: Sequence[Opened], number: int) -> Message:
    """Read the messages about a task; number its classes as the plan does."""
    first, classes = parts[0], base.plan.tasks[number].classes
    counts = first.header.counts
    form = base.method.message_form(len(classes), max(1, sum(counts)))
    read = [_read_part(base, part, number, form) for part in parts]
    tensors = form.joined(read)
    if len(parts) == first.header.parts:
        found = {name: (tensor.dtype, tuple(tensor.shape)) for name, tensor in tensors.items()}
        place = [first.header.classes.index(name) for name in classes]
        problem = form.problem(found) or form.wrong_values(tensors, [counts[k] for k in place])
        if problem is not None:
            first.refuse(problem)
    steps = [made for part in parts for made in part.header.steps]
    return Message(tensors, steps, sum(part.size for part in parts))


def _read_part(base: Base, message: Opened, number: int, form: Form) -> dict[str, Tensor]:
    """Read one message in the numbers that the plan gives classes."""
    header, classes = message.header, base.plan.tasks[number].classes
    if set(header.classes) != set(classes):
        message.refuse(f"{len(header.classes)} classes, expected the {len(classes)} of its task")
    form = form if header.parts == 1 else form.of_a_part()
    tensors = message.tensors(form)
    if (problem := form.wrong_values(tensors, header.counts)) is not None:
        message.refuse(problem)
    place = torch.tensor([classes.index(name) for name in header.classes])
    made = form.renumbered(tensors, place)
    if made is None:
        message.refuse("a trained head whose classes are in another order than the base's")
    return made


def _notes(messages: Sequence[Opened]) -> list[str]:
    """Return a line about each message that other versions made."""
    notes = []
    for message in messages:
        for name, own in versions().items():
            theirs = message.header.versions.get(name)
            if theirs != own:
                notes.append(
                    f"{message.path} was made with {name} {theirs!r:.40}, here is {own}: last "
                    "bits may differ from those of a run"
                )
    return notes
