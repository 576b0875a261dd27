"""Reading and writing the files that travel: safetensors with one typed header, checked strictly.

A reader knows what a file is, and that its header is whole, before it looks at a tensor; it reads
tensors only after their names, dtypes and shapes, and so their size, are found right. Nothing in
a file is executed.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, NoReturn, TypeVar

import torch
from pydantic import ValidationError
from torch import Tensor

from autods.core.files import atomic
from autods.errors import UsageError
from bmc.methods.message import Form
from bmc.sites.errors import SiteFileDamaged
from bmc.sites.headers import BaseHeader, CentreHeader, MessageHeader

# of the metadata: the sha256 of the header, a space, the header. One key: safetensors writes
# several in an order that changes
KEY = "bmc-stream"
HEADER_BYTES = 16 << 20  # more than names of a million classes take
DTYPES = {
    "F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "I64": torch.int64,
    "I32": torch.int32, "I16": torch.int16, "I8": torch.int8, "U8": torch.uint8,
}  # fmt: skip
KINDS = {BaseHeader: "base", MessageHeader: "message", CentreHeader: "centre"}
WRITERS = {
    "base": "`bmc-stream base` or `consolidate` writes it",
    "message": "`bmc-stream expert` writes it",
    "centre": "`bmc-stream consolidate` writes it beside a base",
}

H = TypeVar("H", BaseHeader, MessageHeader, CentreHeader)


@dataclass(frozen=True)
class SiteFile(Generic[H]):
    """An opened file whose header is whole; its tensors are not read yet.

    Attributes
    ----------
    sha256
        Of the header, which names that of the tensors: the same for the same content.
    size
        Of the file, in bytes.
    found
        Dtype and shape of each tensor.
    """

    path: Path
    header: H
    sha256: str
    size: int
    found: Mapping[str, tuple[torch.dtype, tuple[int, ...]]]

    def tensors(self, form: Form | None = None) -> dict[str, Tensor]:
        """Read the tensors, which must have a form if one is given.

        Raises `SiteFileDamaged` when they have not, or are not those that were written.
        """
        from safetensors import SafetensorError
        from safetensors.torch import load

        if form is not None and (problem := form.problem(self.found)) is not None:
            self.refuse(problem)
        data = self.path.read_bytes()
        try:
            tensors = load(data)
        except (SafetensorError, ValueError, KeyError) as error:
            self.refuse(f"what cannot be read ({error})")
        if len(data) != self.size or _content(tensors) != self.header.content:
            self.refuse("tensors that are not those written: bits changed on the way")
        return tensors

    def refuse(self, what: str) -> NoReturn:
        """Raise `SiteFileDamaged`; ``what`` says what came in place of what was expected."""
        raise _damaged(self.path, self.header.kind, what)


def write_file(path: Path, header: H, tensors: Mapping[str, Tensor]) -> tuple[str, int]:
    """Write a file atomically; return the sha256 of its header, and its size.

    Raises `UsageError` if there is another file already; the same one, of a call that was cut
    short, stays.
    """
    from safetensors.torch import save

    stored = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    text = header.model_copy(update={"content": _content(stored)}).text()
    digest = hashlib.sha256(text.encode()).hexdigest()
    data = save(stored, metadata={KEY: f"{digest} {text}"})
    if not (path.is_file() and path.read_bytes() == data):
        refuse_existing(path)
        with atomic(path) as temporary:
            temporary.write_bytes(data)
    return digest, len(data)


def refuse_existing(path: Path) -> None:
    """Raise `UsageError` if there is a file already."""
    if path.exists():
        raise UsageError(
            f"--out {path}: expected a new file, this one exists and was left as it is. Choose "
            "another --out, or remove it."
        )


def open_file(path: Path, kind: type[H]) -> SiteFile[H]:
    """Open a file of a kind and check its frame and header.

    Raises
    ------
    UsageError
        When there is no such file.
    SiteFileDamaged
        When it is not of this kind, cut short or changed.
    """
    named = KINDS[kind]
    if not path.is_file():
        raise UsageError(
            f"{path}: expected a {named}, got {_instead(path)}; nothing was done. Name the file "
            f"as it was copied here; {WRITERS[named]}."
        )
    size = path.stat().st_size
    try:
        with path.open("rb") as handle:
            length = int.from_bytes(handle.read(8), "little")
            if size < 8 or not 2 <= length <= min(HEADER_BYTES, size - 8):
                raise ValueError("no safetensors file, or the beginning of one")
            entries = json.loads(handle.read(length), object_pairs_hook=_once)
        digest, _, text = entries.pop("__metadata__")[KEY].partition(" ")
        found, end = _found(entries)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise _damaged(path, named, f"something else ({_short(error)})") from None
    if size != 8 + length + end:
        raise _damaged(path, named, f"{size} bytes of {8 + length + end}")
    if hashlib.sha256(text.encode()).hexdigest() != digest:
        raise _damaged(path, named, "a header that is not the one written: bits changed on the way")
    return SiteFile(path, _typed(path, kind, text), digest, size, found)


def _typed(path: Path, kind: type[H], text: str) -> H:
    """Read a header."""
    named = KINDS[kind]
    try:
        said = json.loads(text, object_pairs_hook=_once)
        other = said.get("kind")
        if other != named and other in KINDS.values():
            raise _damaged(path, named, f"a {other}")
        ours = kind.model_fields["format"].default
        if other == named and said.get("format") != ours:
            raise SiteFileDamaged(
                f"{path}: expected a {named} of format {ours}, got format "
                f"{said.get('format')!r:.20}, which another version of bmc writes; nothing of it "
                "was used. Install the version of who wrote it, or have it made by this one."
            )
        return kind.model_validate_json(text)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise _damaged(path, named, f"'{where}': {first['msg']}") from None
    except (ValueError, AttributeError, RecursionError) as error:
        raise _damaged(path, named, f"another header ({_short(error)})") from None


def _found(entries: Any) -> tuple[dict[str, tuple[torch.dtype, tuple[int, ...]]], int]:
    """Return dtype and shape of each tensor, and where the last one ends."""
    found, spans = {}, []
    for name, entry in entries.items():
        dtype, shape = DTYPES[entry["dtype"]], tuple(entry["shape"])
        start, end = entry["data_offsets"]
        count = dtype.itemsize
        for size in shape:
            if type(size) is not int or size < 0:
                raise ValueError("a shape that is none")
            count *= size
        if type(start) is not int or end - start != count:
            raise ValueError("a shape of another size than its tensor")
        found[name] = dtype, shape
        spans.append((start, end))
    last = 0
    for start, end in sorted(spans):
        if start != last:
            raise ValueError("tensors that overlap or leave gaps")
        last = end
    return found, last


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Refuse a key that JSON has twice: readers differ in which one they take."""
    made = dict(pairs)
    if len(made) < len(pairs):
        raise ValueError("a key twice")
    return made


def _content(tensors: Mapping[str, Tensor]) -> str:
    """Return the sha256 of tensors with their names, dtypes and shapes."""
    digest = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name]
        digest.update(f"{name} {tensor.dtype} {list(tensor.shape)}\n".encode())
        digest.update(tensor.numpy().tobytes())
    return digest.hexdigest()


def _instead(path: Path) -> str:
    """Say what a path is that is no regular file."""
    if path.is_dir():
        return "a folder"
    return "a pipe or a device" if path.exists() else "no such file"


def _short(error: Exception) -> str:
    """Return what an error says as one short line, without characters that move a terminal."""
    return repr(f"{error}")[1:-1][:80]


def _damaged(path: Path, kind: str, what: str) -> SiteFileDamaged:
    return SiteFileDamaged(
        f"{path}: expected a {kind} as {WRITERS[kind]}, got {what}; nothing of it was used. "
        "Copy it again from where it was written."
    )
