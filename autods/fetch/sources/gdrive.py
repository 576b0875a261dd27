"""Google Drive: public files by their id, past the page that warns of large ones.

Its warning, its quota notice and its sign-in page all come with status 200.
"""

from __future__ import annotations

import os
from html.parser import HTMLParser
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlencode, urljoin

from autods.core.progress import Progress
from autods.errors import LinkGone, QuotaExceeded
from autods.fetch.magic import title_of
from autods.fetch.sources.base import SOURCES, MirrorFailed
from autods.fetch.sources.http import fetch_url
from autods.manifest.schema import FileEntry, Mirror

if TYPE_CHECKING:
    import httpx

HOST = "https://drive.usercontent.google.com"  # AUTODS_GDRIVE_URL takes its place
CONFIRMATIONS = 3  # forms that are answered before the mirror is given up
QUOTA = ("quota exceeded", "quota for this file", "too many users have viewed", "automated queries")
SIGN_IN = ("servicelogin", "accounts.google.com", "sign in")


@SOURCES.register("gdrive")
def fetch_gdrive(mirror: Mirror, target_part: Path, entry: FileEntry, progress: Progress) -> None:
    """Download one public file of Google Drive, continuing a part (see `Source`)."""
    identity, _, key = mirror.url.partition("#")
    asked = {"id": identity, "export": "download", "confirm": "t"}
    if key:  # files shared before 2021 are given with their key only
        asked["resourcekey"] = key
    query = urlencode(asked)
    url = f"{os.environ.get('AUTODS_GDRIVE_URL', HOST).rstrip('/')}/download?{query}"
    for _ in range(CONFIRMATIONS + 1):
        try:
            return fetch_url(url, mirror, target_part, entry, progress, explain=_explain)
        except _Confirm as page:
            url = page.url
    raise MirrorFailed("Google Drive asks for confirmation again and again")


class _Confirm(Exception):
    """Drive asks whether a large file is really wanted; ``url`` says yes."""

    def __init__(self, url: str) -> None:
        super().__init__()
        self.url = url


def _explain(response: httpx.Response, page: bytes) -> None:
    """Tell Drive's pages apart (see `autods.fetch.sources.http.Explain`)."""
    text, title = page.decode("utf-8", errors="replace"), title_of(page)
    if response.status_code == 200 and (url := _confirmation(str(response.url), text)):
        raise _Confirm(url)
    if any(words in text.lower() for words in QUOTA):
        raise MirrorFailed("Google Drive's download quota for this file is used up", QuotaExceeded)
    if any(words in f"{response.url} {title}".lower() for words in SIGN_IN):
        raise _not_shared("Google Drive asks to sign in: the file is not shared with everyone")
    if response.status_code == 200:
        raise MirrorFailed(f"Google Drive gives a page titled '{title}' instead of the file")
    if response.status_code in (404, 410):
        raise MirrorFailed("Google Drive has no file of this id any more", LinkGone)
    if response.status_code in (401, 403):
        raise _not_shared("Google Drive refuses the file: it is not shared with everyone")


def _not_shared(text: str) -> MirrorFailed:
    return MirrorFailed(
        text,
        next_step="Ask the authors of the dataset for access, download the file in a browser and "
        "hand it over with 'autods import NAME FILE'.",
    )


def _confirmation(base: str, page: str) -> str | None:
    """Return the address that the form of the warning page leads to, if there is such a form."""
    form = _Form()
    try:
        form.feed(page)
        if form.action is None or "id" not in form.values:
            return None
        return f"{urljoin(base, form.action)}?{urlencode(form.values)}"
    except (AssertionError, ValueError):  # markup or an address that Python cannot read
        return None


class _Form(HTMLParser):
    """The action and the hidden values of the download form of a page."""

    def __init__(self) -> None:
        super().__init__()
        self.action: str | None = None
        self.values: dict[str, str] = {}
        self._inside = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        if tag == "form" and self.action is None and "download" in given.get("action", ""):
            self.action, self._inside = given["action"], True
        elif tag == "input" and self._inside and given.get("type") == "hidden":
            self.values[given.get("name", "")] = given.get("value", "")

    def handle_endtag(self, tag: str) -> None:
        self._inside = self._inside and tag != "form"
