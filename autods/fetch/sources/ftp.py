"""ftp with the standard library: anonymous unless the URL names a user, resume by REST."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from autods.core.files import BLOCK
from autods.core.progress import Progress
from autods.errors import CredentialsMissing, FetchError, LinkGone, Unreachable
from autods.fetch.digests import size_of
from autods.fetch.sources.base import (
    SOURCES,
    Interrupted,
    MirrorFailed,
    Seen,
    persist,
    receive,
    shown,
)
from autods.fetch.sources.limits import Deadline, steady
from autods.manifest.schema import FileEntry, Mirror

if TYPE_CHECKING:
    import socket
    from ftplib import FTP

SILENT_SECONDS = 60.0
PERMANENT: dict[str, tuple[str, type[FetchError]]] = {
    "530": (": the server wants a login", CredentialsMissing),
    "550": (": the file is gone", LinkGone),
}
NO_REST = ("500", "501", "502", "504")  # replies of servers that cannot resume


@SOURCES.register("ftp")
def fetch_ftp(mirror: Mirror, target_part: Path, entry: FileEntry, progress: Progress) -> None:
    """Download one file over ftp in binary mode, continuing a part (see `Source`)."""
    persist(lambda: _attempt(mirror.url, target_part, entry, progress), target_part, progress)


def _attempt(url: str, part: Path, entry: FileEntry, progress: Progress) -> None:
    import ftplib

    ftp, deadline = ftplib.FTP(timeout=SILENT_SECONDS), Deadline(SILENT_SECONDS)
    try:
        with _in_plain_words(), deadline.running():
            path = unquote(urlsplit(url).path).lstrip("/")
            total = _connect(ftp, url, path, deadline)
            offset = size_of(part)
            if total is not None and offset > total:  # the part began as another file
                offset = 0
            if offset and offset == total:
                return
            data, offset = _open(ftp, path, offset)
        seen = Seen(shown(url), total=total)
        receive(steady(_blocks(ftp, data, deadline)), part, entry, progress, seen=seen, at=offset)
    finally:
        ftp.close()


def _connect(ftp: FTP, url: str, path: str, deadline: Deadline) -> int | None:
    """Log in and return the size of the file in bytes, ``None`` if the server does not tell."""
    import ftplib

    place = urlsplit(url)
    deadline.watch(lambda: ftp.sock)  # also while it greets
    ftp.connect(place.hostname or "", place.port or ftplib.FTP_PORT)
    ftp.login(unquote(place.username or ""), unquote(place.password or ""))
    ftp.voidcmd("TYPE I")
    with suppress(ftplib.error_perm):  # SIZE is optional; RETR says whether the file exists
        return ftp.size(path)
    return None


def _open(ftp: FTP, path: str, offset: int) -> tuple[socket.socket, int]:
    """Return the data connection and the byte at which it begins."""
    import ftplib

    try:
        return ftp.transfercmd(f"RETR {path}", offset or None), offset
    except ftplib.error_perm as error:
        if not offset or not str(error).startswith(NO_REST):
            raise
        return ftp.transfercmd(f"RETR {path}"), 0


def _blocks(ftp: FTP, data: socket.socket, deadline: Deadline) -> Iterator[bytes]:
    with _in_plain_words(), data:
        while block := data.recv(BLOCK):
            yield block
        with deadline.running():
            ftp.voidresp()  # 226: the server, too, thinks that it sent everything


@contextmanager
def _in_plain_words() -> Iterator[None]:
    """Turn the errors of ftplib and sockets into causes."""
    import ftplib
    import socket

    try:
        yield
    except ftplib.error_perm as error:
        words, kind = PERMANENT.get(str(error)[:3], ("", FetchError))
        raise MirrorFailed(f"{error}{words}", kind) from None
    except socket.gaierror:
        raise MirrorFailed("the host is unknown", Unreachable) from None
    except ConnectionRefusedError:
        raise MirrorFailed("no connection: refused", Unreachable) from None
    except ValueError as error:  # a port that is no number, a line break in a path
        raise MirrorFailed(f"not a usable URL: {error}") from None
    except (ftplib.Error, EOFError, OSError) as error:
        raise Interrupted(f"the connection was dropped: {error}".rstrip(": ")) from None
