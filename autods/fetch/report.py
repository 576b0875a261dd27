"""How a fetch of many datasets ended: one row per dataset, for people and for programs."""

from __future__ import annotations

import traceback
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from autods.core.home import expanded
from autods.core.root import DataRoot
from autods.core.version import __version__
from autods.errors import AutodsError, Busy, FetchError, step_for
from autods.fetch.digests import size_of
from autods.fetch.part_files import part_of
from autods.fetch.records import is_recorded, recorded_files
from autods.fetch.sources.base import shown
from autods.manifest.sources import FileEntry, Release

FORMAT = 1  # of the record
WAITING = "waiting"  # the state of a dataset that has not ended yet
GOOD = ("done", "kept")
IN_MESSAGE = "Mend what its message says, then run the same command again."


@dataclass(frozen=True)
class FileState:
    """One file after the fetch: ``here`` if it is in place and verified.

    ``size`` is that of the verified file, else the manifest's, ``None`` if unknown; ``arrived``
    counts the bytes in place or in a part. ``kind`` and ``url`` name the mirror that gave it,
    ``None`` if it was put there by hand or is missing.
    """

    name: str
    here: bool
    size: int | None
    arrived: int
    checksum: str
    kind: str | None
    url: str | None


@dataclass(frozen=True)
class Row:
    """How one dataset ended.

    ``state`` is ``done`` (fetched), ``kept`` (was here), else the cause: ``gone``, ``quota`` ...
    ``next_step`` is done at ``url``. After ``again`` seconds the failure may pass by itself, see
    `FetchError`. ``fetched`` counts the bytes of this run; ``files`` is empty if the manifest or
    the record cannot be read; ``traceback`` is that of an unexpected error.
    """

    dataset: str
    state: str
    message: str = ""
    next_step: str = ""
    url: str = ""
    again: float | None = None
    seconds: float = 0.0
    fetched: int = 0
    files: tuple[FileState, ...] = ()
    traceback: str = ""

    @property
    def here(self) -> bool:
        """Whether all files of the dataset are here."""
        return self.state in GOOD

    def told(self) -> str:
        """Return the message and, unless it says so itself, what is to be done."""
        step = "" if self.next_step == IN_MESSAGE else step_for(self.dataset, self.next_step)
        return f"{self.message}\n{step}".rstrip()

    def as_json(self) -> dict[str, Any]:
        """Return the row for programs; ``cause`` is ``None`` for a dataset that is here."""
        cause = None if self.here or self.state == WAITING else self.state
        return {**asdict(self), "cause": cause, "seconds": round(self.seconds, 3)}


@dataclass
class Report:
    """How each of the requested datasets ended; times are UTC.

    ``ended`` is ``None`` while the command runs, and after an interruption.
    """

    root: DataRoot
    asked: list[str]
    began: datetime = field(default_factory=lambda: datetime.now(UTC))
    ended: datetime | None = None
    rows: dict[str, Row] = field(default_factory=dict)

    def in_order(self) -> list[Row]:
        """Return a row for each dataset; ``waiting`` for one that has not ended."""
        return [self.rows.get(name, Row(name, WAITING)) for name in self.asked]

    @property
    def missing(self) -> list[str]:
        """Names of the datasets of which not all is here."""
        return [row.dataset for row in self.in_order() if not row.here]

    def elsewhere(self, mirrors: Sequence[str]) -> list[tuple[str, str]]:
        """Return the files that none of the user's mirrors gave, and the host that did, or ""."""
        own = tuple(
            shown(base) if "://" in base else str(expanded(base).resolve()) for base in mirrors
        )
        return [
            (f"{row.dataset}/{file.name}", urlsplit(file.url or "").hostname or file.kind or "")
            for row in self.in_order()
            if row.state != GOOD[1]
            for file in row.files
            if not (file.here and (file.url is None or file.url.startswith(own)))
        ]

    def steps(self) -> dict[str, list[str]]:
        """Return each next step with the datasets that it is for, in their order."""
        found: dict[str, list[str]] = {}
        for row in self.in_order():
            if row.next_step:
                found.setdefault(row.next_step, []).append(row.dataset)
        return found

    def summary(self) -> str:
        """Return the last line of the command."""
        count, missing = len(self.asked), len(self.missing)
        if not missing:
            return f"All {count} datasets are here." if count > 1 else "The dataset is here."
        are = "is" if missing == 1 else "are"
        return (
            f"{count - missing} of {count} datasets are here, {missing} {are} not; "
            "run the same command again to go on."
        )

    def as_json(self) -> dict[str, Any]:
        """Return the record of the command."""
        return {
            "format": FORMAT,
            "autods": __version__,
            "root": str(self.root.path),
            "began": self.began.isoformat(timespec="seconds"),
            "ended": self.ended and self.ended.isoformat(timespec="seconds"),
            "asked": len(self.asked),
            "here": len(self.asked) - len(self.missing),
            "missing": self.missing,
            "datasets": {row.dataset: row.as_json() for row in self.in_order()},
        }


def failed_row(dataset: str, error: BaseException, root: DataRoot, **facts: Any) -> Row:
    """Return the row of a dataset that ended with an error; a traceback if it was unexpected."""
    if isinstance(error, FetchError):
        step, url = error.next_step, error.url
        return Row(dataset, error.cause, error.message, step, url, error.again, **facts)
    if isinstance(error, AutodsError):
        again = 0.0 if isinstance(error, Busy) else None
        return Row(dataset, "failed", str(error), IN_MESSAGE, again=again, **facts)
    return Row(
        dataset,
        "failed",
        shown(f"unexpected {type(error).__name__}: {error}; what has arrived stays."),
        "Run the same command again; if it fails in the same way, report it with the traceback "
        f"in {root.fetch_record()}.",
        traceback=shown("".join(traceback.format_exception(error))),
        **facts,
    )


def look(manifest: Release, root: DataRoot) -> tuple[FileState, ...]:
    """Return what is here of each file; nothing if unknown: the dataset's own error says why."""
    try:
        recorded = recorded_files(root, manifest.name)
        return tuple(
            _look_at(entry, root.archive(manifest.name, entry.name), recorded.get(entry.name))
            for entry in manifest.files
        )
    except Exception:  # whatever it is, the dataset's own error tells it
        return ()


def _look_at(entry: FileEntry, target: Path, recorded: dict[str, Any] | None) -> FileState:
    here = is_recorded(entry, target, recorded)
    of = recorded if here and recorded else {}
    return FileState(
        entry.name,
        here,
        of.get("size", entry.size),
        size_of(target) if target.exists() else size_of(part_of(target)),
        of.get("checksum", entry.checksum),
        of.get("kind"),
        of.get("url"),
    )
