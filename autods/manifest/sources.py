"""Where the files of a dataset come from: mirrors, checksums, a licence to accept."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

from pydantic import Field, field_validator, model_validator

from autods.core.files import hash_file
from autods.core.root import inside
from autods.core.strict import Strict
from autods.errors import UnsafePath

CHECKSUM = re.compile(r"md5:[0-9a-f]{32}|sha256:[0-9a-f]{64}|git:[0-9a-f]{40}|tree:[0-9a-f]{64}")

Kind = Literal[
    "http", "ftp", "gdrive", "kaggle", "kaggle-competition", "huggingface", "git", "file"
]

# Kind to the pattern of its url and its description; git and file take any url.
FORMS = {
    "http": (r"https?://.+", "http:// or https:// address"),
    "ftp": (r"ftp://.+", "ftp:// address"),
    "gdrive": (
        r"[A-Za-z0-9_-]{10,}(#[A-Za-z0-9_-]+)?",
        "id of a Drive file (#resource key)",
    ),
    "kaggle": (r"[\w.-]+/[\w.-]+(@\d+)?", "owner/slug or owner/slug@version"),
    "kaggle-competition": (r"[\w.-]+", "slug of a competition"),
    "huggingface": (r"[\w.-]+/[\w.-]+@[^:@]+:.+", "owner/repository@revision:path"),
}


class Mirror(Strict):
    """One place a file can be fetched from. Mirrors are tried in order.

    ``url`` is, for http and ftp, an address; for gdrive, the file's id, with ``#`` and its
    resource key if it has one; for kaggle, ``owner/slug`` or ``owner/slug@version``; for
    kaggle-competition, its slug; for huggingface, ``owner/repository@revision:path``, a file of
    a dataset repository; for git, a remote; for file, a local path, absolute or beside the
    manifest.
    """

    kind: Kind
    url: str
    versions: list[int] = Field(default=[])  # of a Kaggle dataset: those known to exist
    stated_by: str | None = None  # who says that this place, or this version, has these bytes
    in_place: bool = False  # of a local folder: used where it is, instead of copied

    @model_validator(mode="after")
    def _url_of_its_kind(self) -> Mirror:
        form, words = FORMS.get(self.kind, (".+", "path or remote"))
        if not re.fullmatch(form, self.url):
            raise ValueError(f"url: a mirror of kind {self.kind} expects {words}, got '{self.url}'")
        if "://" in self.url and self.kind != "file" and (fault := _fault(self)):
            raise ValueError(f"url: expected an address of a host, got '{self.url}': {fault}")
        if self.versions and self.kind != "kaggle":
            raise ValueError(f"versions: expected of kind kaggle only, got {self.kind}")
        if self.in_place and self.kind != "file":
            raise ValueError(f"in_place: expected of kind file only, got {self.kind}")
        return self


def _fault(mirror: Mirror) -> str:
    """Return what is wrong with the host or port of an address, ``""`` if nothing."""
    try:
        split = urlsplit(mirror.url)
        host, _ = split.hostname, split.port  # the port is checked when it is asked for
    except ValueError as error:
        return str(error)
    return "" if host or mirror.kind == "git" else "it names no host"


class FileEntry(Strict):
    """One file of a dataset as published: an archive, a list, or a folder of images."""

    name: str
    checksum: str  # md5:, sha256:, git:<commit>, or tree:<sha256 of a folder, see files.hash_tree>
    size: int | None = None  # bytes
    about: int | None = None  # bytes as published, roughly or of no certain version; for plans
    estimate: int | None = None  # bytes that we estimate where nothing is published; for plans
    unpacked: int | None = None  # bytes of the copy that reading makes; None: by the kind
    sha256: str | None = None  # a second checksum that is published; both must agree
    stated_by: str | None = None  # who publishes size and sha256, or what the estimate is made from
    mirrors: list[Mirror] = Field(min_length=1)

    @property
    def roughly(self) -> int | None:
        """Bytes, the best that is known: exactly, as published or estimated."""
        known = (self.size, self.about, self.estimate)
        return next((value for value in known if value is not None), None)

    @model_validator(mode="after")
    def _one_size(self) -> FileEntry:
        given = [key for key in ("size", "about", "estimate") if getattr(self, key) is not None]
        if len(given) > 1:
            raise ValueError(f"expected one of size, about and estimate, got {' and '.join(given)}")
        return self

    @field_validator("checksum")
    @classmethod
    def _known_algorithm(cls, value: str) -> str:
        if not CHECKSUM.fullmatch(value):
            raise ValueError(
                "expected md5:<32 hex>, sha256:<64 hex>, git:<40 hex> or tree:<64 hex>"
            )
        return value

    @field_validator("sha256")
    @classmethod
    def _sha256_digits(cls, value: str | None) -> str | None:
        if value is not None and not re.fullmatch("[0-9a-f]{64}", value):
            raise ValueError("expected 64 hexadecimal digits in small letters")
        return value

    @field_validator("name")
    @classmethod
    def _stays_inside(cls, value: str) -> str:
        try:
            inside(Path("archives"), value)
        except UnsafePath:
            raise ValueError("expected a relative path without '..'") from None
        return value

    def fault(self, path: Path) -> str | None:
        """Return why a file with this checksum is still the wrong one, or ``None``."""
        if self.sha256 is None or not path.is_file():
            return None
        got = hash_file(path, "sha256")
        return None if got == self.sha256 else f"its SHA-256 is {got}, expected {self.sha256}"


Access = Literal["open", "kaggle", "kaggle-competition", "form"]


class Acceptance(Strict):
    """A licence that its owner wants accepted before the download begins."""

    url: str
    text: str  # one sentence: the terms that are accepted


class Release(Strict):
    """Files that were published together: a dataset, or an archive of features."""

    name: str
    title: str
    homepage: str | None
    citation: str | None
    licence: str | None
    access: Access
    files: Sequence[FileEntry] = Field(min_length=1)
    acceptance: Acceptance | None = None
