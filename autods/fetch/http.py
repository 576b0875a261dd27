"""http and https with httpx: redirects, resume by range, retries.

A partial file continues where it stopped. What the server said about the content
(ETag, Last-Modified, size) stands beside it, so that a content that has changed in
between is fetched from its start and not glued to the old beginning.
"""

from __future__ import annotations

import re
import socket
import ssl
import time
from collections.abc import Iterator
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import TYPE_CHECKING

from autods import __version__
from autods.fetch.base import (
    SOURCES,
    Interrupted,
    MirrorFailed,
    Seen,
    persist,
    receive,
    shown,
    size_of,
)
from autods.manifest import FileEntry, Mirror
from autods.progress import Progress

if TYPE_CHECKING:
    import httpx

CONNECT_SECONDS = 15.0
SILENT_SECONDS = 60.0  # a connection without one byte for this long counts as dropped
SMALLER = 0.5  # of the bytes of a part: a whole content below that is another one
MAY_PASS = (408, 425, 429, 500, 502, 503, 504)
# ``identity``: the bytes as published, not a transfer compression of them.
HEADERS = {"User-Agent": f"autods/{__version__}", "Accept-Encoding": "identity"}


@SOURCES.register("http")
def fetch_http(mirror: Mirror, target_part: Path, entry: FileEntry, progress: Progress) -> None:
    """Download one file over http or https, continuing a part (see `Source`)."""
    import httpx

    timeout = httpx.Timeout(SILENT_SECONDS, connect=CONNECT_SECONDS)
    with httpx.Client(follow_redirects=True, timeout=timeout, headers=HEADERS) as client:

        def attempt() -> None:
            try:
                _attempt(client, mirror.url, target_part, entry, progress)
            except (httpx.HTTPError, httpx.InvalidURL) as error:
                raise _explained(error) from None

        persist(attempt, target_part, progress)


def _attempt(
    client: httpx.Client, url: str, part: Path, entry: FileEntry, progress: Progress
) -> None:
    offset = size_of(part)
    before = Seen.load(part)
    headers = {"Range": f"bytes={offset}-"} if offset else {}
    if offset and before.validator and before.url == shown(url):
        headers["If-Range"] = before.validator
    with client.stream("GET", url, headers=headers) as response:
        now = Seen(shown(url), _validator(response), _total(response))
        if offset:
            _check_worth(response, offset, now.total, entry)
        start = _start(response, offset, before, now, part)
        if not start or start != now.total:  # else the part is already whole
            receive(_raw(response), part, entry, progress, seen=now, at=start)


def _raw(response: httpx.Response) -> Iterator[bytes]:
    """Yield the body as it arrives, so that a dropped connection loses nothing."""
    import httpx

    try:
        yield from response.iter_raw()
    except httpx.HTTPError as error:
        raise _explained(error) from None


def _check_worth(
    response: httpx.Response, offset: int, total: int | None, entry: FileEntry
) -> None:
    """Refuse an answer that is not worth the bytes that have arrived: an error page, say."""
    if response.status_code not in (200, 206, 416):
        return
    page = response.headers.get("Content-Type", "").lower().startswith("text/html")
    if response.status_code == 200 and entry.size and total not in (None, entry.size):
        raise MirrorFailed(f"offers {total:,} bytes, expected {entry.size:,}")
    if page and response.status_code != 416 and not entry.name.endswith((".html", ".htm")):
        raise MirrorFailed("offers a web page: perhaps a login or a quota notice")
    if not entry.size and total is not None and total < offset * SMALLER:
        raise MirrorFailed(f"offers only {total:,} bytes in all, {offset:,} have arrived already")


def _start(response: httpx.Response, offset: int, before: Seen, now: Seen, part: Path) -> int:
    """Return the byte at which this answer continues the part; raise for any other answer."""
    status = response.status_code
    if status == 200:
        return 0  # whole content: no part, no range support, or If-Range saw a change
    if status == 206 and offset:
        began = re.match(r"bytes (\d+)-", response.headers.get("Content-Range", ""))
        same_size = None in (before.total, now.total) or before.total == now.total
        same_content = before.url != now.url or before.validator in ("", now.validator)
        if began and int(began[1]) == offset and same_size and same_content:
            return offset
    if status == 416 and now.total == offset:
        return offset
    if status in (206, 416):
        part.unlink(missing_ok=True)
        raise Interrupted("the content has changed since the last try, or the range was wrong")
    cause = f"{status} {response.reason_phrase}".strip()
    if status in MAY_PASS:
        raise Interrupted(cause, _retry_after(response))
    if status in (404, 410):
        raise MirrorFailed(f"{cause}: the file is gone")
    if status in (401, 403):
        raise MirrorFailed(f"{cause}: the server wants a login or a permission")
    raise MirrorFailed(f"{cause}: not an answer that holds the file")


def _validator(response: httpx.Response) -> str:
    tag = str(response.headers.get("ETag", ""))
    if tag.startswith('"'):  # a weak tag (W/...) says nothing about single bytes
        return tag
    return str(response.headers.get("Last-Modified", ""))


def _total(response: httpx.Response) -> int | None:
    """Return the size of the whole content in bytes, if the answer says it."""
    if response.status_code in (206, 416):
        found = re.search(r"/(\d+)$", response.headers.get("Content-Range", ""))
    else:
        found = re.fullmatch(r"(\d+)", response.headers.get("Content-Length", ""))
    return int(found[1]) if found else None


def _retry_after(response: httpx.Response) -> float | None:
    """Return the seconds that a Retry-After header asks for (number or date)."""
    value = response.headers.get("Retry-After", "")
    if value.isdecimal():
        return float(value)
    try:
        return max(0.0, parsedate_to_datetime(value).timestamp() - time.time())
    except ValueError:
        return None


def _explained(error: Exception) -> Interrupted | MirrorFailed:
    """Turn an httpx error into a cause in plain words."""
    import httpx

    if isinstance(error, httpx.ConnectTimeout):
        return MirrorFailed(f"no connection within {CONNECT_SECONDS:.0f} s")
    if isinstance(error, httpx.ConnectError):
        reasons = list(_chain(error))
        if any(isinstance(reason, socket.gaierror) for reason in reasons):
            return MirrorFailed("the host is unknown")
        if any(isinstance(reason, ssl.SSLError) for reason in reasons):
            return MirrorFailed(f"no trusted TLS connection: {error}")
        return MirrorFailed(f"no connection: {error}")
    if isinstance(error, httpx.TimeoutException | httpx.NetworkError | httpx.RemoteProtocolError):
        return Interrupted(f"the connection was dropped: {error}")
    return MirrorFailed(f"cannot be fetched: {error}")


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__
