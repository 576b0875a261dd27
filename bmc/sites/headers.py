"""The typed headers of the files that travel: a base, a message, and what a centre keeps."""

from __future__ import annotations

import hashlib
import json
import unicodedata
from typing import Annotated, Any, Literal

import torch
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from autods.core.strict import repeated
from autods.core.version import __version__
from autods.manifest.stream import SyntheticData
from bmc.methods.message import MOST_PARTS

WIDEST = 1 << 16  # dimensions of features


def _plain(text: str) -> str:
    """Refuse control characters: names reach terminals."""
    if any(unicodedata.category(c) in ("Cc", "Cs") for c in text):
        raise ValueError("expected a name without control characters")
    return text


Name = Annotated[str, Field(min_length=1, max_length=1000), AfterValidator(_plain)]
Count = Annotated[int, Field(ge=0, lt=1 << 53)]
Digest = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]


def versions() -> dict[str, str]:
    """Return the versions of the programs that decide the bits."""
    return {"bmc": __version__, "torch": torch.__version__}


class _Typed(BaseModel):
    """Base of headers: nothing is converted, unknown keys are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    def digest(self) -> str:
        """Return the sha256 of what it says."""
        return hashlib.sha256(self.text().encode()).hexdigest()

    def text(self) -> str:
        """Return it as JSON, the same text for the same content."""
        return json.dumps(self.model_dump(mode="json"), sort_keys=True, ensure_ascii=False)


class PlannedTask(_Typed):
    """One task; ``classes`` are numbered in this order. ``label_set`` None: the default one."""

    name: Name
    dataset: Name
    label_set: Name | None = None
    classes: Annotated[list[Name], Field(min_length=1)]

    @model_validator(mode="after")
    def _different_classes(self) -> PlannedTask:
        if again := repeated(self.classes):
            raise ValueError(f"expected each class once, got '{again}' twice")
        return self


class Plan(_Typed):
    """What all sites and the centre agree on; it never changes.

    Attributes
    ----------
    config
        Every hyper-parameter, under ``options`` those of the method.
    encoder
        Name of the features' encoder; ``None`` if they are generated, as ``synthetic`` says.
    dim
        Width d of the features.
    tasks
        In the order in which they are learned.
    """

    method: Name
    config: dict[str, Any]
    stream: Name
    scenario: Literal["class-il", "task-il"]
    protocol: Literal["clean", "paper"]
    normalize: Literal["l2", "none"]
    encoder: Name | None
    synthetic: SyntheticData | None = None
    dim: Annotated[int, Field(ge=1, le=WIDEST)]
    tasks: Annotated[list[PlannedTask], Field(min_length=1)]

    @model_validator(mode="after")
    def _different_tasks(self) -> Plan:
        if again := repeated(task.name for task in self.tasks):
            raise ValueError(f"expected each task once, got '{again}' twice")
        if (self.encoder is None) != (self.synthetic is not None):
            raise ValueError("expected an encoder or the size of a generated stream, not both")
        return self

    def config_digest(self) -> str:
        """Return the sha256 of the hyper-parameters."""
        return hashlib.sha256(json.dumps(self.config, sort_keys=True).encode()).hexdigest()

    def starts(self) -> list[int]:
        """Return the number of each task's first class, and that of all classes."""
        starts = [0]
        for task in self.tasks:
            starts.append(starts[-1] + len(task.classes))
        return starts


class _Header(_Typed):
    """What every file has: ``content`` is the sha256 of its tensors, ``versions`` of programs."""

    format: Literal[1] = 1
    versions: dict[str, str] = Field(default_factory=versions)
    content: Digest = "0" * 64


class BaseHeader(_Header):
    """A base: the model that experts begin with, and how far it has come.

    Attributes
    ----------
    learned
        Number of tasks learned.
    encoder
        The encoder's provenance, as the first messages told it.
    previous, centre
        The sha256 of the base before, and of what the centre keeps beside this one.
    steps, communication_bytes, broadcast_bytes
        Updates, and bytes of messages and of bases that experts got, so far.
    """

    kind: Literal["base"] = "base"
    plan: Plan
    learned: Count = 0
    encoder: dict[str, Any] | None = None
    previous: Digest | None = None
    centre: Digest | None = None
    steps: Count = 0
    communication_bytes: Count = 0
    broadcast_bytes: Count = 0

    @model_validator(mode="after")
    def _as_many_as_there_are(self) -> BaseHeader:
        if self.learned > len(self.plan.tasks):
            raise ValueError(f"expected at most {len(self.plan.tasks)} learned tasks")
        return self


class MessageHeader(_Header):
    """A message: what it is about, and which base it belongs to.

    Attributes
    ----------
    config, plan
        The sha256 of the hyper-parameters and of the whole plan.
    base, learned
        The sha256 of the base that the expert was given, and the tasks which that had learned.
    classes, counts
        Names of the classes as the tensors number them, and training samples of each.
    encoder
        The encoder's provenance.
    part, parts
        Which of how many messages about this task.
    steps
        Updates that each expert made: one, or as many as the site has cut the task into.
    """

    kind: Literal["message"] = "message"
    method: Name
    config: Digest
    plan: Digest
    base: Digest
    learned: Count
    task: Name
    part: Annotated[int, Field(ge=1)] = 1
    parts: Annotated[int, Field(ge=1, le=MOST_PARTS)] = 1
    classes: Annotated[list[Name], Field(min_length=1)]
    counts: list[Count]
    encoder_name: Name | None
    encoder: dict[str, Any]
    steps: Annotated[list[Count], Field(max_length=MOST_PARTS)]

    @model_validator(mode="after")
    def _one_count_a_class(self) -> MessageHeader:
        if again := repeated(self.classes):
            raise ValueError(f"expected each class once, got '{again}' twice")
        if self.part > self.parts:
            raise ValueError(f"expected a part of {self.parts}, got part {self.part}")
        if len(self.counts) != len(self.classes):
            raise ValueError(f"expected {len(self.classes)} counts, got {len(self.counts)}")
        return self


class Taken(_Typed):
    """A message that was taken in."""

    task: Name
    sha256: Digest
    bytes: Count


class CentreHeader(_Header):
    """What the centre keeps beside a base and sends to nobody."""

    kind: Literal["centre"] = "centre"
    plan: Digest
    learned: Count
    taken: list[Taken]
