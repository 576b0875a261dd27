"""What an expert sends from where its data are, and the form that a centre demands of it.

A message is tensors alone. Its form names every tensor with dtype and shape, so that a centre
knows what it takes before it reads a byte of content.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

LABELS, COUNTS, NOT_NEGATIVE, INSIDE = "labels", "counts", "not negative", "classes inside"
MOST_PARTS = 10_000  # messages about one task
Found = Mapping[str, tuple[torch.dtype, tuple[int, ...]]]  # dtype and shape by name


@dataclass(frozen=True)
class Message:
    """What the expert of one task sends.

    Attributes
    ----------
    tensors
        By name, as of `Method.message_form`. Classes are numbered from 0 within the task.
    steps
        Updates that each expert made, of a task that is cut one after the other.
    nbytes
        What was sent, in bytes.
    parts
        How many messages there are about the task.
    """

    tensors: dict[str, Tensor]
    steps: Sequence[int] = ()
    nbytes: int = 0
    parts: int = 1


@dataclass(frozen=True)
class Entry:
    """One tensor of a form.

    Attributes
    ----------
    shape
        Sizes; a free one is a name, the same size wherever it stands. ``k`` counts the classes.
    role
        `LABELS`: numbers of classes; `COUNTS`: training samples of each class; `NOT_NEGATIVE`;
        `INSIDE`: has classes in another way than one to a row.
    """

    dtype: torch.dtype
    shape: tuple[int | str, ...]
    role: str = ""


Variant = Mapping[str, Entry]


@dataclass(frozen=True)
class Form:
    """The tensors of a message: of each group exactly one variant, complete.

    Attributes
    ----------
    most
        The largest value of each free size.
    least
        The smallest one, where it is not 1.
    """

    groups: Sequence[Sequence[Variant]]
    most: Mapping[str, int]
    least: Mapping[str, int] = field(default_factory=dict)

    def entries(self, names: frozenset[str] | set[str]) -> dict[str, Entry] | None:
        """Return the entries of tensors with these names, ``None`` if no variants have them."""
        chosen: dict[str, Entry] = {}
        for variants in self.groups:
            fitting = [v for v in variants if v.keys() <= names]
            if not fitting:
                return None
            largest: Variant = max(fitting, key=len)
            chosen |= largest
        return chosen if chosen.keys() == names else None

    def problem(self, found: Found) -> str | None:
        """Say where tensors differ from the form: ``expected ..., got ...``; ``None``: nowhere."""
        entries = self.entries(set(found))
        if entries is None:
            known = [" or ".join(_names(variants)) for variants in self.groups]
            return f"expected the tensors {'; '.join(known)}, got {', '.join(sorted(found))}"
        sizes: dict[str, int] = {}
        for name, entry in entries.items():
            dtype, shape = found[name]
            if dtype != entry.dtype:
                return f"{name}: expected {_plain(entry.dtype)}, got {_plain(dtype)}"
            bound = [
                sizes.get(size, size) if isinstance(size, str) else size for size in entry.shape
            ]
            fits = len(shape) == len(bound) and all(
                self._fits(given, size) for given, size in zip(shape, bound, strict=True)
            )
            if not fits:
                return f"{name}: expected the shape {self._shown(bound)}, got {list(shape)}"
            for given, size in zip(shape, bound, strict=True):
                if isinstance(size, str):
                    sizes[size] = given
        return None

    def _fits(self, given: int, size: int | str) -> bool:
        if isinstance(size, int):
            return given == size
        return self.least.get(size, 1) <= given <= self.most[size]

    def _shown(self, shape: Sequence[int | str]) -> str:
        """Return a shape for people; of a free size, its limits."""
        sizes = [
            str(s) if isinstance(s, int) else f"{self.least.get(s, 1)} to {self.most[s]}"
            for s in shape
        ]
        return f"[{', '.join(sizes)}]"

    def wrong_values(self, tensors: Mapping[str, Tensor], counts: Sequence[int]) -> str | None:
        """Say which values cannot be, of tensors of this form; ``counts`` are samples by class."""
        entries = self.entries(set(tensors)) or {}
        for name, tensor in tensors.items():
            if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
                return f"{name}: expected finite numbers, got others"
            role = entries[name].role
            if role == NOT_NEGATIVE and bool((tensor < 0).any()):
                return f"{name}: expected no number below 0, got {float(tensor.min()):g}"
            if role == COUNTS and tensor.tolist() != list(counts):
                return f"{name}: expected the numbers of samples that its header states, got others"
            if role == LABELS:
                labels = tensor.long()
                if len(labels) and not 0 <= int(labels.min()) <= int(labels.max()) < len(counts):
                    return f"{name}: expected class numbers below {len(counts)}, got others"
                known = torch.tensor(counts)
                if bool((torch.bincount(labels, minlength=len(counts)) > known).any()):
                    return f"{name}: expected no more samples of a class than its header states"
        return None

    def of_a_part(self) -> Form:
        """Return the form of a message about a part of a task, which may send no samples ``n``."""
        return replace(self, least={**self.least, "n": 0})

    def joined(self, parts: Sequence[Mapping[str, Tensor]]) -> dict[str, Tensor]:
        """Join messages about the parts of one task: their samples ``n``; all else is the same."""
        entries = self.entries(set(parts[0])) or {}
        return {
            name: torch.cat([part[name] for part in parts]) if entry.shape[:1] == ("n",)
            else parts[0][name]
            for name, entry in entries.items()
        }  # fmt: skip

    def renumbered(self, tensors: Mapping[str, Tensor], place: Tensor) -> dict[str, Tensor] | None:
        """Return tensors whose classes have other numbers: class j is ``place[j]``, int64 [k].

        ``None`` if a tensor is `INSIDE`, and the numbers are others.
        """
        if bool((place == torch.arange(len(place))).all()):
            return dict(tensors)
        entries = self.entries(set(tensors)) or {}
        inverse = torch.argsort(place)
        made = {}
        for name, tensor in tensors.items():
            entry = entries[name]
            if entry.role == INSIDE:
                return None
            if entry.role == LABELS:
                made[name] = place[tensor.long()].to(tensor.dtype)
            else:
                made[name] = tensor[inverse] if entry.shape[:1] == ("k",) else tensor
        return made


def _names(variants: Sequence[Variant]) -> Iterator[str]:
    for variant in variants:
        yield ", ".join(variant) or "none"


def _plain(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
