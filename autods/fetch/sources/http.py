"""http and https with httpx: redirects, resume, retries; the transport of several kinds.

What the server said about the content (ETag, Last-Modified, size) is kept beside the part, so
that changed content is fetched anew. What identifies a content is the mirror: hosts that sign
addresses give another one each time. Credentials go to their host and, by httpx, to no other.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator, Mapping
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import TYPE_CHECKING

from autods.core.credentials import Credentials
from autods.core.network import trusted
from autods.core.progress import Progress
from autods.core.version import __version__
from autods.errors import CredentialsMissing, FetchError, LinkGone, QuotaExceeded, Unreachable
from autods.fetch import magic
from autods.fetch.digests import size_of
from autods.fetch.sources.base import (
    SOURCES,
    Interrupted,
    MirrorFailed,
    Peekable,
    Seen,
    persist,
    receive,
    shown,
)
from autods.fetch.sources.encodings import decoded, is_encoded
from autods.fetch.sources.http_errors import (
    check_environment,
    explained,
    proxy_refused,
    unusable,
)
from autods.fetch.sources.limits import Deadline, steady
from autods.manifest.schema import FileEntry, Mirror

if TYPE_CHECKING:
    import httpx

CONNECT_SECONDS = 15.0
SILENT_SECONDS = 60.0  # a connection without one byte for this long counts as dropped
SMALLER = 0.5  # of the bytes of a part: a whole content below that is another one
NUMBER = "[0-9]{1,18}"  # of bytes, in a header; what is longer is no size
LONGEST_ASKED = 1e9  # seconds: a server that asks for more never gives the file
PAGE = 1 << 16  # bytes of a web page that are looked at
MAY_PASS = (408, 425, 429, 500, 502, 503, 504)
BAD_TOKEN = (
    "Put the token again where it stands ('autods doctor' tells the place), on one line and as the "
    "host shows it."
)
# ``identity``: the bytes as published, not a transfer compression of them.
HEADERS = {"User-Agent": f"autods/{__version__}", "Accept-Encoding": "identity"}


# What a kind knows about the answers of its host: raises `MirrorFailed` or `Interrupted` for one
# that it knows. Called for an error (status 400 and above, but 416) and for a web page in place
# of the file, with the beginning of the body.
Explain = Callable[["httpx.Response", bytes], None]


def is_elsewhere(response: httpx.Response) -> bool:
    """Tell whether another host answered than the one that was asked, after a redirect."""
    asked = response.history[0].url if response.history else response.url
    return asked.netloc != response.url.netloc


@SOURCES.register("http")
def fetch_http(mirror: Mirror, target_part: Path, entry: FileEntry, progress: Progress) -> None:
    """Download one file over http or https, continuing a part (see `Source`)."""
    fetch_url(mirror.url, mirror, target_part, entry, progress)


def fetch_url(
    url: str,
    mirror: Mirror,
    part: Path,
    entry: FileEntry,
    progress: Progress,
    *,
    token: Credentials | None = None,
    explain: Explain = lambda response, page: None,
) -> None:
    """Download what one address gives, continuing a part; raise `MirrorFailed` for another content.

    The mirror identifies the content; two addresses of one mirror give the same. ``token`` is
    sent to the host of ``url`` only; ``explain`` is asked first about errors and web pages.
    """
    import httpx

    headers = dict(HEADERS)
    if token is not None:
        if token.note:
            progress.note(f"  {token.note}")
        headers["Authorization"] = value = token.authorization
        if not is_sendable(value):  # httpx would refuse and repeat it
            text = "its token is not one line of plain characters"
            raise MirrorFailed(text, CredentialsMissing, BAD_TOKEN)
    with open_client(headers) as client:

        def attempt() -> None:
            deadline = Deadline(SILENT_SECONDS)
            try:
                _attempt(client, url, mirror, part, entry, progress, explain, deadline)
            except (httpx.HTTPError, httpx.InvalidURL, UnicodeError) as error:
                # the last: a redirect to a host whose name cannot be one
                raise deadline.told() or explained(error) from None
            finally:
                deadline.stop()

        persist(attempt, part, progress)


def open_client(headers: Mapping[str, str]) -> httpx.Client:
    """Return a client that uses the proxies and certificates of the environment.

    `MirrorFailed` names the variable that keeps it from beginning.
    """
    import httpx

    check_environment()
    timeout = httpx.Timeout(SILENT_SECONDS, connect=CONNECT_SECONDS)
    try:
        return httpx.Client(
            follow_redirects=True, timeout=timeout, headers=headers, verify=trusted()
        )
    except (OSError, ValueError, ImportError, httpx.InvalidURL) as error:
        raise unusable(error) from None


def _attempt(
    client: httpx.Client,
    url: str,
    mirror: Mirror,
    part: Path,
    entry: FileEntry,
    progress: Progress,
    explain: Explain,
    deadline: Deadline,
) -> None:
    offset, identity = size_of(part), shown(mirror.url)
    before = Seen.load(part)
    headers = {"Range": f"bytes={offset}-"} if offset else {}
    if offset and is_sendable(before.validator) and before.validator and before.url == identity:
        headers["If-Range"] = before.validator
    followed = {"trace": deadline.trace}
    with client.stream("GET", url, headers=headers, extensions=followed) as response:
        body, now = _content(response, identity, entry, part)
        if response.status_code >= 400 and response.status_code != 416:
            explain(response, body.beginning(PAGE))
            raise _refused(response)
        if response.status_code == 200 and magic.refusal(body.beginning(magic.ENOUGH), entry.name):
            page = body.beginning(PAGE)
            explain(response, page)
            raise MirrorFailed(f"offers {magic.refusal(page, entry.name)}")
        if offset:
            _check_worth(response, offset, before, now, entry)
        start = _start(response, offset, before, now, part)
        if not start or start != now.total:  # else the part is already whole
            receive(body, part, entry, progress, seen=now, at=start)


def _content(
    response: httpx.Response, identity: str, entry: FileEntry, part: Path
) -> tuple[Peekable, Seen]:
    """Return the body of an answer, as published, and what the server says about it."""
    body = Peekable(steady(_raw(response)))
    now = Seen(identity, _validator(response), _total(response))
    encoding = response.headers.get("Content-Encoding", "")
    whole = now.total is not None and now.total == entry.size
    try:
        encoded = is_encoded(encoding, body, entry.name, whole)
    except MirrorFailed:
        if response.status_code < 400:
            raise
        encoded = False  # a page that nobody can read; the status tells enough
    if not encoded:
        return body, now
    if response.status_code == 206:  # a piece of the compressed form: it continues nothing
        part.unlink(missing_ok=True)
        raise Interrupted("the server compresses the file, so that it cannot be continued")
    return Peekable(decoded(body, encoding)), Seen(identity)


def _raw(response: httpx.Response) -> Iterator[bytes]:
    import httpx

    try:
        yield from response.iter_raw()
    except httpx.HTTPError as error:
        raise explained(error) from None


def _check_worth(
    response: httpx.Response, offset: int, before: Seen, now: Seen, entry: FileEntry
) -> None:
    """Refuse an answer that is not worth the bytes that have arrived: an error page, say."""
    if response.status_code == 200 and entry.size and now.total not in (None, entry.size):
        raise MirrorFailed(f"offers {now.total:,} bytes, expected {entry.size:,}")
    # The rest of a page looks like nothing, and some servers call every file a page.
    page = response.headers.get("Content-Type", "").lower().startswith("text/html")
    known = before.url == now.url and before.validator and before.validator == now.validator
    if page and response.status_code == 206 and not known and not entry.name.endswith(magic.PAGES):
        raise MirrorFailed("offers a web page: perhaps a login or a quota notice")
    if not entry.size and now.total is not None and now.total < offset * SMALLER:
        raise MirrorFailed(
            f"offers only {now.total:,} bytes in all, {offset:,} have arrived already"
        )


def _start(response: httpx.Response, offset: int, before: Seen, now: Seen, part: Path) -> int:
    """Return the byte at which this answer continues the part; raise for any other answer."""
    status = response.status_code
    if status == 200:
        return 0  # whole content: no part, no range support, or If-Range saw a change
    if status == 206 and offset:
        began = re.match(rf"bytes ({NUMBER})-", response.headers.get("Content-Range", ""))
        same_size = None in (before.total, now.total) or before.total == now.total
        same_content = before.url != now.url or before.validator in ("", now.validator)
        if began and int(began[1]) == offset and same_size and same_content:
            return offset
    if status == 416 and now.total == offset:
        return offset
    if status in (206, 416):
        part.unlink(missing_ok=True)
        raise Interrupted("the content has changed since the last try, or the range was wrong")
    raise _refused(response)


def _refused(response: httpx.Response) -> Interrupted | MirrorFailed:
    """Return what an answer without the file means."""
    status = response.status_code
    text = f"{status} {response.reason_phrase}".strip()
    if status == 407:
        return proxy_refused(f"{response.url.scheme}://{response.url.host}", text)
    if status in MAY_PASS:
        kind: type[FetchError] = QuotaExceeded if status == 429 else Unreachable
        return Interrupted(text, _retry_after(response), kind)
    if status in (404, 410):
        return MirrorFailed(f"{text}: the file is gone", LinkGone)
    if status == 401:
        return MirrorFailed(
            f"{text}: the server wants a login",
            CredentialsMissing,
            "Get a login from the host and add a --mirror of the form "
            "'https://user:password@host/folder', or fetch the file in a browser and hand it "
            "over with 'autods import NAME FILE'.",
        )
    if status == 403:
        return MirrorFailed(
            f"{text}: the server wants a login or a permission",
            next_step="The host refuses the file to strangers: see its homepage ('autods info "
            "NAME') for how to get it, and hand it over with 'autods import NAME FILE'.",
        )
    return MirrorFailed(f"{text}: not an answer that holds the file")


def _validator(response: httpx.Response) -> str:
    tag = str(response.headers.get("ETag", ""))
    if not tag.startswith('"'):  # a weak tag (W/...) says nothing about single bytes
        tag = str(response.headers.get("Last-Modified", ""))
    return tag if is_sendable(tag) else ""


def is_sendable(value: str) -> bool:
    """Tell whether a text can be the value of a header; httpx refuses others."""
    return value.isascii() and value.isprintable()


def _total(response: httpx.Response) -> int | None:
    """Return the size of the whole content in bytes, if the answer says it."""
    if response.status_code in (206, 416):
        found = re.search(f"/({NUMBER})$", response.headers.get("Content-Range", ""))
    else:
        found = re.fullmatch(f"({NUMBER})", response.headers.get("Content-Length", ""))
    return int(found[1]) if found else None


def _retry_after(response: httpx.Response) -> float | None:
    """Return the seconds that a Retry-After header asks for (number or date)."""
    value = response.headers.get("Retry-After", "")
    if value.isdecimal():
        return min(float(value), LONGEST_ASKED)
    try:
        return max(0.0, parsedate_to_datetime(value).timestamp() - time.time())
    except (ValueError, OverflowError):
        return None
