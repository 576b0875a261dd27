"""Hugging Face Hub: files of dataset repositories at a pinned revision, gated ones too.

Addresses and tokens are `huggingface_hub`'s; the bytes come by our own transport. The token is
sent to the Hub only, not to the storage host that it redirects to.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

from autods.core.credentials import HUB_LOG_IN, Credentials, hub_credentials
from autods.core.hub import endpoint
from autods.core.progress import Progress
from autods.errors import CredentialsMissing, LinkGone, RulesNotAccepted
from autods.fetch.sources.base import SOURCES, MirrorFailed
from autods.fetch.sources.http import Explain, fetch_url, is_elsewhere
from autods.manifest.schema import FileEntry, Mirror

if TYPE_CHECKING:
    import httpx


@SOURCES.register("huggingface")
def fetch_huggingface(
    mirror: Mirror, target_part: Path, entry: FileEntry, progress: Progress
) -> None:
    """Download one file of a dataset repository, continuing a part (see `Source`)."""
    repository, revision, path = _parts(mirror)
    token = hub_credentials()
    explain = _explain(f"{endpoint()}/datasets/{repository}", repository, revision, path, token)
    url = address(mirror)
    fetch_url(url, mirror, target_part, entry, progress, token=token, explain=explain)


def address(mirror: Mirror) -> str:
    """Return the address of a file of a dataset repository; `MirrorFailed` for a wrong name."""
    from huggingface_hub import hf_hub_url

    repository, revision, path = _parts(mirror)
    try:
        return hf_hub_url(
            repository, path, repo_type="dataset", revision=revision, endpoint=endpoint()
        )
    except ValueError as error:
        raise MirrorFailed(f"not a name of the Hub: {error}") from None


def _parts(mirror: Mirror) -> tuple[str, str, str]:
    """Return repository, revision and path."""
    found = re.fullmatch(r"([^@]+)@([^:]+):(.+)", mirror.url)
    if found is None:
        raise MirrorFailed("expected owner/repository@revision:path")
    return found[1], found[2], found[3]


def _explain(
    page_url: str, repository: str, revision: str, path: str, token: Credentials | None
) -> Explain:
    def explain(response: httpx.Response, page: bytes) -> None:
        status = response.status_code
        if is_elsewhere(response):
            return  # the storage host's answer, not the Hub's
        code = response.headers.get("X-Error-Code", "")
        words = response.headers.get("X-Error-Message", "")
        if code == "GatedRepo":
            step = f"Ask for access at {page_url}" + ("." if token else f". Then: {HUB_LOG_IN}")
            text = f"the Hub wants the conditions of {repository} accepted, see {page_url}"
            raise MirrorFailed(text, RulesNotAccepted, step, page_url)
        if code == "RevisionNotFound":
            raise MirrorFailed(f"revision {revision} of {repository} is gone", LinkGone)
        if code == "EntryNotFound":
            raise MirrorFailed(f"{repository} at {revision} has no file {path}", LinkGone)
        if words == "Access to this resource is disabled.":
            raise MirrorFailed(f"the Hub has closed {repository}", LinkGone)
        if status in (401, 403) and token is not None:
            text = f"the Hub does not take the token of {token.source} for {repository}"
            raise MirrorFailed(text, CredentialsMissing, HUB_LOG_IN)
        if status in (401, 403):
            text = f"{repository} is private or gone: the Hub shows it to no stranger"
            raise MirrorFailed(text, CredentialsMissing, HUB_LOG_IN)
        if status in (404, 410):
            raise MirrorFailed(f"the Hub has no {repository} any more", LinkGone)

    return explain
