"""How large files are before they are fetched: what the manifest tells, and what servers answer.

Also how much room the uncompressed copies take that reading makes of some archives.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import TYPE_CHECKING, Literal, NamedTuple

from autods.containers.kinds import kind_by_name
from autods.containers.locations import Location, location_path
from autods.core.root import DataRoot
from autods.fetch.sources.base import MirrorFailed
from autods.manifest.sources import FileEntry, Mirror

if TYPE_CHECKING:
    import httpx

    from autods.core.credentials import Credentials

SECONDS = 5.0  # that a server has for its answer
AT_ONCE = 8  # servers that are asked at the same time

# exact: by a list that states the checksum too, or by the file itself; answered: by the server;
# about: by a text that is rough or of no certain version; estimate: by us.
Basis = Literal["exact", "answered", "about", "estimate", "unknown"]


class Size(NamedTuple):
    """Bytes of a file, ``None`` if unknown, and how that is known."""

    bytes: int | None
    basis: Basis


def stated_size(entry: FileEntry) -> Size:
    """Return what the manifest tells."""
    if entry.size is not None:
        return Size(entry.size, "exact")
    if entry.about is not None:
        return Size(entry.about, "about")
    return Size(entry.estimate, "unknown" if entry.estimate is None else "estimate")


def copy_size(dataset: str, entry: FileEntry, size: int | None, root: DataRoot) -> int | None:
    """Return the bytes of the copy that indexing will still make; ``None`` if unknown.

    The manifest may state them. Otherwise a compressed archive of images counts as large as it
    is itself, for images hardly shrink, and all else is read in place.
    """
    made = (Location.COPY, Location.ARRAYS)
    if any(location_path(root, dataset, entry.name, at).exists() for at in made):
        return 0
    if entry.unpacked is not None:
        return entry.unpacked
    return size if kind_by_name(entry.name).is_converted else 0


def ask_sizes(files: Sequence[tuple[FileEntry, Mirror]]) -> list[int | None]:
    """Ask the servers behind mirrors for the sizes of files, all at once; no byte is fetched.

    ``None`` for a server that does not answer in `SECONDS`, or not with a size, and for kinds that
    cannot be asked (Drive, ftp, git, competitions).
    """
    if not files:
        return []
    with ThreadPoolExecutor(AT_ONCE) as pool:
        return list(pool.map(lambda pair: _ask(pair[1]), files))


def _ask(mirror: Mirror) -> int | None:
    import httpx

    from autods.fetch.sources.http import HEADERS

    if (asked := _ADDRESSES.get(mirror.kind)) is None:
        return None
    with suppress(httpx.HTTPError, httpx.InvalidURL, MirrorFailed, OSError, ValueError):
        url, token = asked(mirror)
        headers = dict(HEADERS)
        if token is not None:
            headers["Authorization"] = token.authorization
        with httpx.Client(follow_redirects=True, timeout=SECONDS, headers=headers) as client:
            size = _size_in(client.head(url))
            if size is not None:
                return size
            # Some hosts answer only what looks like a download.
            with client.stream("GET", url, headers={"Range": "bytes=0-0"}) as response:
                return _size_in(response)
    return None


def _size_in(response: httpx.Response) -> int | None:
    """Return the size of the content that an answer tells, if it is the file and not a page."""
    from autods.fetch.sources.http import NUMBER

    page = response.headers.get("Content-Type", "").lower().startswith("text/html")
    if response.status_code not in (200, 206) or page:
        return None
    if response.status_code == 206:
        text = response.headers.get("Content-Range", "").rpartition("/")[2]
    else:
        text = response.headers.get("Content-Length", "")
    found = re.fullmatch(NUMBER, text)
    return int(text) or None if found else None


def _of_http(mirror: Mirror) -> tuple[str, Credentials | None]:
    return mirror.url, None


def _of_hub(mirror: Mirror) -> tuple[str, Credentials | None]:
    from autods.core.credentials import hub_credentials
    from autods.fetch.sources.huggingface import address

    return address(mirror), hub_credentials()


def _of_kaggle(mirror: Mirror) -> tuple[str, Credentials | None]:
    from autods.fetch.sources.kaggle import address, credentials

    return address(mirror), credentials()


_ADDRESSES: dict[str, Callable[[Mirror], tuple[str, Credentials | None]]] = {
    "http": _of_http,
    "huggingface": _of_hub,
    "kaggle": _of_kaggle,
}  # kind to the address of a mirror and the token for its host
