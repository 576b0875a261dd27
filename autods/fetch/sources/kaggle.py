"""Kaggle: archives of datasets, at a pinned version if the manifest names one, and of competitions.

Not by the official clients: they unpack or rename files, so that the published checksum cannot
be checked, and continue an archive that has changed; importing `kaggle` logs in, or ends the
process. Credentials are read where Kaggle's own tools read them and sent to Kaggle only.
"""

from __future__ import annotations

import os
from base64 import b64encode
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

from autods.core.credentials import Credentials
from autods.core.home import expanded, home
from autods.core.json_texts import parse_json
from autods.core.progress import Progress
from autods.core.shell import quoted
from autods.errors import CredentialsMissing, LinkGone, RulesNotAccepted
from autods.fetch.sources.base import SOURCES, MirrorFailed
from autods.fetch.sources.http import Explain, fetch_url, is_elsewhere
from autods.manifest.schema import FileEntry, Mirror

if TYPE_CHECKING:
    import httpx

SITE = "https://www.kaggle.com"  # KAGGLE_API_ENDPOINT takes its place for downloads
GET_TOKEN = (
    f"Make a token at {SITE}/settings (API, 'Create new token') and put it at "
    "~/.kaggle/kaggle.json, or set KAGGLE_USERNAME and KAGGLE_KEY, or KAGGLE_API_TOKEN."
)


@SOURCES.register("kaggle")
def fetch_dataset_archive(
    mirror: Mirror, target_part: Path, entry: FileEntry, progress: Progress
) -> None:
    """Download the archive of a Kaggle dataset, continuing a part (see `Source`)."""
    name, _, version = mirror.url.partition("@")
    missing = f"version {version} of the dataset" if version else "the dataset"
    token = credentials()
    explain = _explain(f"{SITE}/datasets/{name}", missing, token)
    fetch_url(address(mirror), mirror, target_part, entry, progress, token=token, explain=explain)


def address(mirror: Mirror) -> str:
    """Return the address of a dataset's archive, at its version if the mirror names one."""
    name, _, version = mirror.url.partition("@")
    path = f"datasets/download/{quote(name)}"
    return _address(path + (f"?datasetVersionNumber={version}" if version else ""))


@SOURCES.register("kaggle-competition")
def fetch_competition_archive(
    mirror: Mirror, target_part: Path, entry: FileEntry, progress: Progress
) -> None:
    """Download all files of a Kaggle competition as one archive (see `Source`)."""
    token = credentials()
    if token is None:
        raise MirrorFailed("no Kaggle token was found", CredentialsMissing, GET_TOKEN)
    url = _address(f"competitions/data/download-all/{quote(mirror.url)}")
    explain = _explain(f"{SITE}/competitions/{mirror.url}/rules", "the competition", token)
    fetch_url(url, mirror, target_part, entry, progress, token=token, explain=explain)


def credentials() -> Credentials | None:
    """Return the Kaggle token and where it was found, ``None`` if there is none.

    The environment goes before files, and a token before a pair of name and key. Raises
    `MirrorFailed` for a ``kaggle.json`` that is not what Kaggle writes.
    """
    if token := os.environ.get("KAGGLE_API_TOKEN", "").strip():
        return Credentials("KAGGLE_API_TOKEN", f"Bearer {token}")
    name, key = (os.environ.get(each, "").strip() for each in ("KAGGLE_USERNAME", "KAGGLE_KEY"))
    if name and key:
        return Credentials("KAGGLE_USERNAME and KAGGLE_KEY", _basic(name, key))
    for folder in _folders():
        if found := _token_file(folder / "access_token") or _key_file(folder / "kaggle.json"):
            return found
    return None


def _folders() -> list[Path]:
    if chosen := os.environ.get("KAGGLE_CONFIG_DIR"):
        return [expanded(chosen)]
    at_home, general = home(), os.environ.get("XDG_CONFIG_HOME")
    folders = [at_home / ".kaggle"] if at_home else []
    if general:
        folders.append(expanded(general) / "kaggle")
    elif at_home:
        folders.append(at_home / ".config" / "kaggle")
    return folders


def _token_file(path: Path) -> Credentials | None:
    try:
        token = path.read_text(encoding="utf-8").strip()
    except (OSError, ValueError):
        return None
    return Credentials(str(path), f"Bearer {token}", _openness(path)) if token else None


def _key_file(path: Path) -> Credentials | None:
    try:
        value = parse_json(path.read_text(encoding="utf-8"))
        name, key = value["username"], value["key"]
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError):
        raise MirrorFailed(
            f"{path} cannot be read as JSON with 'username' and 'key'",
            CredentialsMissing,
            f"Replace {path}: {GET_TOKEN}",
        ) from None
    return Credentials(str(path), _basic(str(name), str(key)), _openness(path))


def _openness(path: Path) -> str:
    if path.stat().st_mode & 0o077:
        return f"{path} can be read by other users: chmod 600 {quoted(path)}"
    return ""


def _basic(name: str, key: str) -> str:
    return "Basic " + b64encode(f"{name}:{key}".encode()).decode()


def _address(path: str) -> str:
    return f"{os.environ.get('KAGGLE_API_ENDPOINT', SITE).rstrip('/')}/api/v1/{path}"


def _explain(page_url: str, what: str, token: Credentials | None) -> Explain:
    """Return what Kaggle's answers mean; the server's own words could repeat the token."""

    def explain(response: httpx.Response, page: bytes) -> None:
        status = response.status_code
        if is_elsewhere(response):
            return  # the storage host's answer, not Kaggle's
        if token is None and status in (401, 403):
            text = "Kaggle gives it only to those who show a token, and none was found"
            raise MirrorFailed(text, CredentialsMissing, GET_TOKEN)
        if token is not None and status == 401:
            text = f"Kaggle does not take the token of {token.source}"
            raise MirrorFailed(text, CredentialsMissing, GET_TOKEN)
        if status == 403:
            step = f"Accept the terms of the dataset at {page_url} (it may also be private now)"
            text = "Kaggle wants the terms of the dataset accepted"
            if page_url.endswith("/rules"):
                step = f"Join the competition and accept its rules at {page_url}"
                text = "the rules of the competition are not accepted"
            raise MirrorFailed(f"{text}, see {page_url}", RulesNotAccepted, f"{step}.", page_url)
        if status in (404, 410):
            raise MirrorFailed(f"Kaggle does not have {what} any more", LinkGone)

    return explain
