"""Small texts from hosts: features manifests, whose size and hash nobody has told yet."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from typing_extensions import override

from autods.core.progress import Silent
from autods.errors import FetchError, LinkGone, ManifestError
from autods.fetch.sources.base import SOURCES, MirrorFailed, shown
from autods.interop.published.spec import ArchiveFile
from autods.manifest.sources import Mirror

LARGEST = 32 << 20  # bytes of a features manifest
LATER = "Check the network ('autods doctor') and the address, then run the same command again."


class _Capped(Silent):
    """Ends a download that is larger than any features manifest."""

    def __init__(self, where: str) -> None:
        self.where, self.arrived = where, 0

    @override
    def advance(self, amount: int) -> None:
        self.arrived += amount
        if self.arrived > LARGEST:
            raise too_large(self.where)


def download_text(mirror: Mirror, name: str, where: str) -> str:
    """Return the text of a small file of unknown size."""
    unchecked: dict[str, Any] = {"name": name, "checksum": None, "mirrors": [mirror]}
    entry = ArchiveFile.model_validate(unchecked)
    with TemporaryDirectory() as folder:
        part = Path(folder) / name
        try:
            SOURCES.get(mirror.kind)(mirror, part, entry, _Capped(where))
            return part.read_text(encoding="utf-8")
        except MirrorFailed as error:
            steps = "Check the address; it ends in features/NAME.yaml."
            step = error.next_step or (steps if error.kind is LinkGone else LATER)
            raise error.kind(
                f"{shown(where)}: {shown(str(error))}; nothing was fetched.", step, error.url
            ) from None
        except UnicodeDecodeError:
            raise ManifestError(f"{shown(where)}: expected UTF-8 text; nothing was used.") from None


def too_large(where: str) -> FetchError:
    """Return the error about a text that is larger than any features manifest."""
    return FetchError(
        f"{shown(where)}: more than {LARGEST:,} bytes, which no features manifest has; nothing was "
        "used.",
        "Check the address.",
    )
