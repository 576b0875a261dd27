"""Write a manifest for a dataset of the Hugging Face Hub: Parquet files of images and labels.

Datasets that are not Parquet themselves are taken from the Hub's own copy
(``refs/convert/parquet``). Only lists and the end of one file are read here; the files come
with ``autods fetch``.
"""

from __future__ import annotations

import io
import re
from collections.abc import Mapping
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from autods.containers.parquets import holds_bytes
from autods.core.credentials import HUB, HUB_LOG_IN, hub_credentials
from autods.core.csv_files import NOTHING
from autods.core.hub import AGAIN, asking_hub, endpoint
from autods.core.json_texts import parse_json
from autods.core.network import trusted
from autods.core.output import counted
from autods.core.registry import unknown
from autods.errors import LayoutError, UsageError
from autods.manifest.new.common import (
    TEST_FRACTION,
    check_target,
    next_steps,
    write_manifest,
)
from autods.manifest.new.split_names import splits_of

if TYPE_CHECKING:
    from huggingface_hub.hf_api import RepoSibling

CONVERTED = "refs/convert/parquet"
WHOLE = 64 << 20  # bytes of a whole file that are taken from a host that knows no ranges
TAIL = 1 << 20  # bytes from the end of a Parquet file, which says what is in it
SHARD = re.compile(r"[-_.]?\d+(-of-\d+)?$")  # the number at the end of a file's name
ORDER = ("train", "dev", "test")
LABELS = ("label", "labels", "class", "fine_label")  # taken first, of several


@dataclass(frozen=True)
class _Parquet:
    """One Parquet file of the repository."""

    path: str
    config: str
    split: str
    sha256: str
    size: int


def manifest_from_hub(name: str, identifier: str, out_dir: Path) -> tuple[Path, list[str]]:
    """Write ``<out_dir>/<name>.yaml`` for a dataset of the Hub, pinned to today's revision.

    ``identifier`` is ``owner/dataset``, or ``owner/dataset:configuration`` if it has several.
    The lines returned with the manifest's path are for the user. `UsageError` if the Hub has no
    such dataset, `LayoutError` if it has no Parquet files of images and labels.
    """
    target = out_dir / f"{name}.yaml"
    check_target(name, target)
    repository, _, wanted = identifier.partition(":")
    if not re.fullmatch(r"[\w.-]+/[\w.-]+", repository):
        raise UsageError(
            f"--hf {identifier}: expected owner/dataset or owner/dataset:configuration; {NOTHING}."
        )
    revision, parquets, others, licence = _listed(repository)
    parquets = _of_config(repository, parquets, wanted)
    meaning = splits_of({parquet.split for parquet in parquets})
    parquets.sort(key=lambda file: (ORDER.index(meaning[file.split]), file.path))
    image, label, names = _columns(repository, revision, parquets[0])
    splits = list(dict.fromkeys(parquet.split for parquet in parquets))
    files = [
        {
            "name": f"{parquet.split}-{number:05d}.parquet",
            "checksum": f"sha256:{parquet.sha256}",
            "size": parquet.size,
            "mirrors": [{"kind": "huggingface", "url": f"{repository}@{revision}:{parquet.path}"}],
        }
        for number, parquet in enumerate(parquets)
    ]
    keys = {} if names is None else {"keys": "index"}
    write_manifest(
        target,
        title=f"{identifier} of the Hugging Face Hub",
        homepage=f"{HUB}/datasets/{repository}",
        licence=licence,
        files=files,
        layout={
            "family": "parquet",
            "parts": [
                {"file": file["name"], "split": parquet.split}
                for file, parquet in zip(files, parquets, strict=True)
            ],
            "image": image,
            "labels": {"class": label},
        },
        tasks={"class": {"classes": names, **keys}},
        splits={"clean": _rule(meaning)},
    )
    classes = "" if names is None else f", {counted(len(names), 'class', 'classes')}"
    size = sum(parquet.size for parquet in parquets)
    found = f"{counted(len(parquets), 'file')} of {', '.join(splits)}{classes}, {size:,} bytes."
    left = f"Not used: {counted(len(others), 'Parquet file')} of no split: {', '.join(others[:3])}."
    return target, [found, *([left] if others else []), *next_steps(target)]


def _asking(repository: str) -> AbstractContextManager[None]:
    absent = UsageError(
        f"--hf {repository}: the Hub has no such dataset, or shows it to no stranger; "
        f"{NOTHING}. Correct the name; for a private one: {HUB_LOG_IN}"
    )
    step = f"{AGAIN}; or write the manifest where there is a network and copy it."
    return asking_hub(repository, NOTHING, absent, step)


def _listed(repository: str) -> tuple[str, list[_Parquet], list[str], str | None]:
    """Return revision, Parquet files, others of no split, and licence.

    They are those of the dataset or of the Hub's Parquet copy.
    """
    from huggingface_hub import HfApi, errors

    api = HfApi(endpoint=endpoint())
    with _asking(repository):
        info = api.dataset_info(repository, files_metadata=True)
        licence = getattr(info.card_data, "license", None)
        parquets, others = _parquet_files(info.siblings or [])
        if not parquets:
            with suppress(errors.RevisionNotFoundError):
                info = api.dataset_info(repository, revision=CONVERTED, files_metadata=True)
                parquets, others = _parquet_files(info.siblings or [])
    if not parquets:
        raise LayoutError(
            f"--hf {repository}: expected Parquet files called train..., test..., or a copy of the "
            f"Hub's own in Parquet, found none; {NOTHING}. Download its files and use --folder or "
            "--csv."
        )
    return str(info.sha), parquets, others, licence if isinstance(licence, str) else None


def _parquet_files(siblings: list[RepoSibling]) -> tuple[list[_Parquet], list[str]]:
    """Return the Parquet files of splits, and the names of others."""
    found, others = [], []
    for sibling in siblings:
        folder, _, name = sibling.rfilename.rpartition("/")
        if not name.endswith(".parquet"):
            continue
        words = SHARD.sub("", name.removesuffix(".parquet"))
        if not words:  # default/train/0000.parquet
            folder, _, words = folder.rpartition("/")
        split = next((w for w in (words, re.split("[-._]", words)[0]) if splits_of([w])), None)
        if split is None or sibling.lfs is None:
            others.append(sibling.rfilename)
            continue
        config = "" if folder in ("", "data") else folder.split("/")[0]
        size = int(sibling.lfs.size)
        found.append(_Parquet(sibling.rfilename, config, split, sibling.lfs.sha256, size))
    return found, others


def _of_config(repository: str, parquets: list[_Parquet], wanted: str) -> list[_Parquet]:
    """Return the files of the chosen configuration."""
    known = list(dict.fromkeys(parquet.config for parquet in parquets))
    chosen = wanted or ("default" if "default" in known else known[0])
    if wanted and wanted not in known:
        raise unknown(f"configuration of {repository}", wanted, filter(None, known))
    if not wanted and len(known) > 1 and chosen != "default":
        raise UsageError(
            f"--hf {repository}: it has several configurations; {NOTHING}. Name one: "
            f"--hf {repository}:{next(filter(None, known))}; known: {', '.join(known)}."
        )
    return [parquet for parquet in parquets if parquet.config == chosen]


def _columns(
    repository: str, revision: str, parquet: _Parquet
) -> tuple[str, str, list[str] | None]:
    """Return the columns of images and labels, and the class names in order, ``None`` for text."""
    schema = _schema(repository, revision, parquet)
    try:
        features = parse_json((schema.metadata or {})[b"huggingface"])["info"]["features"]
    except (KeyError, ValueError, TypeError):
        features = {}
    features = features if isinstance(features, dict) else {}
    images = [name for name, of in features.items() if _kind(of) == "Image"]
    images = images or [field.name for field in schema if holds_bytes(field.type)]
    named = {
        name: of["names"]
        for name, of in features.items()
        if _kind(of) == "ClassLabel" and _are_texts(of.get("names"))
    }
    texts = [name for name in LABELS if name in schema.names]
    labels = list(named) or texts
    for what, found in (("images", images), ("labels (a ClassLabel)", labels)):
        if not found:
            raise LayoutError(
                f"--hf {repository}: expected a column of {what}, got {', '.join(schema.names)}; "
                f"{NOTHING}. Use --folder or --csv with its images."
            )
    label = next((name for name in LABELS if name in labels), labels[0])
    image = "image" if "image" in images else images[0]
    return image, label, named.get(label)


def _schema(repository: str, revision: str, parquet: _Parquet) -> Any:
    """Read the Arrow schema from the last bytes of a file, without the rest."""
    import httpx
    import pyarrow as pa
    import pyarrow.parquet as pq
    from huggingface_hub import hf_hub_url

    url = hf_hub_url(
        repository, parquet.path, repo_type="dataset", revision=revision, endpoint=endpoint()
    )
    token = hub_credentials()
    headers = {"Range": f"bytes={max(0, parquet.size - TAIL)}-"}
    if token:
        headers["Authorization"] = token.authorization  # httpx drops it for another host
    with _asking(repository):
        last = b""
        with (
            httpx.Client(follow_redirects=True, timeout=30, verify=trusted()) as client,
            client.stream("GET", url, headers=headers) as answer,
        ):
            answer.raise_for_status()
            for block in answer.iter_bytes():
                last += block
                if len(last) > WHOLE:
                    raise ValueError("it sends more than the end of a file that was asked for")
    try:
        return pq.read_schema(io.BytesIO(last))
    except pa.ArrowException as error:
        raise LayoutError(
            f"--hf {repository}: {parquet.path}: expected a Parquet file, got {error}; {NOTHING}."
        ) from None


def _are_texts(names: Any) -> bool:
    return isinstance(names, list) and all(isinstance(name, str) for name in names)


def _kind(feature: Any) -> str:
    return str(feature.get("_type", "")) if isinstance(feature, dict) else ""


def _rule(meaning: Mapping[str, str]) -> dict[str, Any]:
    """Return the split rule; validation becomes the test split if there is no other."""
    names = {split: [n for n in sorted(meaning) if meaning[n] == split] for split in ORDER}
    if not names["train"] or len(meaning) == 1:
        return {"rule": "random", "test_fraction": TEST_FRACTION}
    if not names["test"]:
        return {"rule": "official", "train": names["train"], "test": names["dev"]}
    return {"rule": "official", **{split: of for split, of in names.items() if of}}
