"""Published folders on the Hugging Face Hub: find a manifest there, upload a folder."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from autods.core.credentials import HUB, HUB_LOG_IN
from autods.errors import (
    AutodsError,
    CredentialsMissing,
    FetchError,
    LinkGone,
    RulesNotAccepted,
    Unreachable,
    UsageError,
)
from autods.interop.shared.manifest import FOLDER, SharedFeatures
from autods.interop.shared.texts import download_text
from autods.manifest.catalogue import load, parse
from autods.manifest.sources import Mirror

TARGET = re.compile(r"hf:([\w.-]+/[\w.-]+)")
LEFT_HERE = ["*.lock", "*.holder", "*.tmp", "*-unchanged.json"]  # not part of what is published


def find_manifest(
    repository: str, revision: str | None, path: str | None, folder: str
) -> tuple[str, str]:
    """Return the commit of a dataset repository and the path of the features manifest in it."""
    from huggingface_hub import HfApi

    with _asking(repository, "nothing was fetched"):
        info = HfApi(endpoint=_endpoint()).dataset_info(repository, revision=revision)
    names = [sibling.rfilename for sibling in info.siblings or []]
    found = sorted(n for n in names if re.fullmatch(rf"(.+/)?{folder}/[^/]+\.ya?ml", n))
    wanted = found if path is None else [name for name in names if name == path]
    if len(wanted) != 1:
        known = ", ".join(found[:12]) or f"none ({folder}/NAME.yaml)"
        raise UsageError(
            f"hf:{repository}: expected {path or 'one features manifest'}, found {known}; nothing "
            f"was fetched. Name one: hf:{repository}:{found[0] if found else folder + '/NAME.yaml'}"
        )
    return str(info.sha), wanted[0]


def parse_target(text: str) -> str:
    """Return the repository that ``hf:OWNER/REPOSITORY`` names; `UsageError` otherwise."""
    match = TARGET.fullmatch(text)
    if match is None:
        raise UsageError(
            f"--push {text}: expected hf:OWNER/REPOSITORY; nothing was published. Correct it."
        )
    return match[1]


def push(folder: Path, repository: str) -> str:
    """Upload a published folder to a dataset repository, made if there is none; return its address.

    Files that are there already are not sent again. Raises `FetchError` of the class of its cause,
    and `UsageError` if the repository has feature sets that the folder lacks: its manifest would
    be replaced, and they would be out of reach.
    """
    from huggingface_hub import HfApi

    api, kept = HfApi(endpoint=_endpoint()), f"{folder} is whole and was not changed"
    with _asking(repository, kept):
        api.create_repo(repository, repo_type="dataset", exist_ok=True)
        siblings = api.dataset_info(repository).siblings or []
        _check_nothing_lost(folder, repository, [sibling.rfilename for sibling in siblings])
        api.upload_folder(
            repo_id=repository,
            repo_type="dataset",
            folder_path=folder,
            ignore_patterns=LEFT_HERE,
            commit_message="Publish features",
        )
    return f"{_endpoint()}/datasets/{repository}"


def _check_nothing_lost(folder: Path, repository: str, there: list[str]) -> None:
    """Refuse to replace a features manifest by one that names fewer datasets."""
    for path in sorted((folder / FOLDER).glob("*.yaml")):
        name = f"{FOLDER}/{path.name}"
        if name not in there:
            continue
        mirror = {"kind": "huggingface", "url": f"{repository}@main:{name}"}
        text = download_text(Mirror.model_validate(mirror), path.name, f"hf:{repository}:{name}")
        datasets = parse(text, f"hf:{repository}:{name}", SharedFeatures).names()
        if lost := sorted(set(datasets) - set(load(path, SharedFeatures).names())):
            raise UsageError(
                f"{repository} has {', '.join(lost)}, which {path} lacks; nothing was uploaded. "
                f"Run `autods fetch {' '.join(lost)} --features hf:{repository}:{name}` and "
                "publish them, too, or choose another --name or repository."
            )


@contextmanager
def _asking(repository: str, kept: str) -> Iterator[None]:
    """Turn what the Hub's client raises into our errors."""
    from huggingface_hub import errors

    place = f"{_endpoint()}/datasets/{repository}"
    try:
        yield
    except errors.GatedRepoError:
        raise RulesNotAccepted(
            f"the Hub wants the conditions of {repository} accepted, see {place}; {kept}.",
            f"Ask for access at {place}. Then: {HUB_LOG_IN}",
            place,
        ) from None
    except errors.RepositoryNotFoundError:
        raise LinkGone(
            f"the Hub has no dataset repository {repository}, or shows it to no stranger; {kept}.",
            f"Correct the name; for a private one: {HUB_LOG_IN}",
        ) from None
    except errors.RevisionNotFoundError:
        raise LinkGone(
            f"{repository} has no such revision; {kept}.", "Correct what follows the @."
        ) from None
    except errors.LocalTokenNotFoundError:
        raise CredentialsMissing(
            f"the Hub takes uploads only with a token, and none was found; {kept}.", HUB_LOG_IN
        ) from None
    except AutodsError:
        raise
    except Exception as error:  # of which HTTP library depends on the version of the client
        raise _unexpected(error, repository, kept) from None


def _unexpected(error: Exception, repository: str, kept: str) -> FetchError:
    """Return our error for an answer that the client has no name for."""
    status = getattr(getattr(error, "response", None), "status_code", None)
    cause = " ".join(str(error).split())[:160] or type(error).__name__
    if status in (401, 403):
        return CredentialsMissing(
            f"the Hub refuses {repository} ({status}): {cause}; {kept}.",
            f"The token needs the right to write there. {HUB_LOG_IN}",
        )
    return Unreachable(
        f"the Hub did not do it for {repository}: {cause}; {kept}.",
        "Check the network and HF_ENDPOINT, then run the same command again: what has arrived "
        "there is not sent again.",
    )


def _endpoint() -> str:
    return os.environ.get("HF_ENDPOINT", HUB).rstrip("/")
