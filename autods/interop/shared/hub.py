"""Published folders on the Hugging Face Hub: find a manifest there, upload a folder."""

from __future__ import annotations

import re
from contextlib import AbstractContextManager
from pathlib import Path

from autods.core.credentials import HUB_LOG_IN
from autods.core.hub import asking_hub, endpoint
from autods.errors import LinkGone, UsageError
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
    from huggingface_hub import HfApi, errors

    try:
        with _asking(repository, "nothing was fetched"):
            info = HfApi(endpoint=endpoint()).dataset_info(repository, revision=revision)
    except errors.RevisionNotFoundError:
        raise LinkGone(
            f"{repository} has no revision {revision}; nothing was fetched.",
            "Correct what follows the @.",
        ) from None
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

    api, kept = HfApi(endpoint=endpoint()), f"{folder} is whole and was not changed"
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
    return f"{endpoint()}/datasets/{repository}"


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


def _asking(repository: str, kept: str) -> AbstractContextManager[None]:
    absent = LinkGone(
        f"the Hub has no dataset repository {repository}, or shows it to no stranger; {kept}.",
        f"Correct the name; for a private one: {HUB_LOG_IN}",
    )
    return asking_hub(repository, kept, absent)
