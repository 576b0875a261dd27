"""Find a features manifest and its files: by name, file, address, or repository of the Hub."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from autods.core.registry import nearest, unknown
from autods.core.yaml_files import YamlFault, parse_yaml
from autods.errors import ManifestError, UnknownName, UsageError
from autods.fetch.sources.base import shown
from autods.interop.published.spec import FeatureArchive, load_archive
from autods.interop.shared.hub import find_manifest
from autods.interop.shared.manifest import FOLDER, KIND, SharedFeatures, SharedSet
from autods.interop.shared.texts import LARGEST, download_text, too_large
from autods.manifest.catalogue import parse
from autods.manifest.files import by_name, checked_folders, feature_files
from autods.manifest.sources import Mirror

HUB = re.compile(r"hf:([\w.-]+/[\w.-]+)(?:@([^:@]+))?(?::(.+))?")
ENDINGS = (".yaml", ".yml")


@dataclass(frozen=True)
class Located:
    """A features manifest and where its files are; ``base`` and ``kind`` as of a mirror."""

    shared: SharedFeatures
    kind: str
    base: str  # of the published folder; for the Hub: owner/repository@revision:folder/

    def mirrors(self, one: SharedSet) -> dict[str, Mirror]:
        """Return where each file of a feature set is."""
        return {file.name: self._mirror(f"{one.dataset}/{file.name}") for file in one.files}

    def _mirror(self, path: str) -> Mirror:
        path = f"{self.shared.name}/{path}"
        if self.kind == "file":
            url = str(Path(self.base) / path)
        elif self.kind == "huggingface":
            url = f"{self.base}{path}"
        else:
            url = f"{self.base}/{quote(path)}"
        return Mirror.model_validate({"kind": self.kind, "url": url})


def locate(where: str, folders: Sequence[Path] = ()) -> Located | FeatureArchive:
    """Return the features that a name, file, folder, address or ``hf:OWNER/REPOSITORY`` stands for.

    ``folders`` of manifests are searched for names. An archive that others published has a
    description of its own, `FeatureArchive`.

    Raises `UnknownName` or `UsageError` if it stands for nothing, `FetchError` if it cannot be
    reached, `ManifestError` if it is no features manifest.
    """
    if where.startswith("hf:"):
        return _in_repository(where)
    if "://" in where:
        return _at_address(where)
    if where.endswith(ENDINGS) or Path(where).expanduser().is_dir():
        return _in_folder(Path(where).expanduser().resolve())
    found: dict[str, Path] = {}
    for folder in checked_folders(folders):
        found |= by_name(feature_files(folder))
    if where not in found and nearest(where, found):
        raise unknown("feature archive", where, found)
    if where not in found:
        raise UnknownName(
            f"{where}: there is no such file or folder, and no feature archive of this name; "
            f"nothing was fetched. Correct the path. Archives: {', '.join(sorted(found))}."
        )
    located = _in_folder(found[where])
    return located if isinstance(located, Located) else load_archive(where, folders)


def _in_folder(path: Path) -> Located | FeatureArchive:
    if path.is_dir():
        candidates = feature_files(path.parent if path.name == FOLDER else path)
        if len(candidates) != 1:
            names = ", ".join(one.name for one in candidates) or "none"
            raise UsageError(
                f"{path}: expected one features manifest in its folder '{FOLDER}', found {names}; "
                "nothing was fetched. Name the file."
            )
        path = candidates[0]
    try:
        if path.stat().st_size > LARGEST:
            raise too_large(str(path))
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise UsageError(
            f"{path}: cannot be read: {error.strerror}; nothing was fetched. Correct the path."
        ) from None
    except UnicodeDecodeError:
        raise ManifestError(f"{path}: expected UTF-8 text; nothing was fetched.") from None
    return _read(text, path, "file", str(path.parent.parent), path.parent.name == FOLDER)


def _at_address(url: str) -> Located | FeatureArchive:
    scheme = url.partition("://")[0].lower()
    if scheme not in ("http", "https", "ftp") or not url.endswith(ENDINGS):
        raise UsageError(
            f"{shown(url)}: expected https://HOST/FOLDER/{FOLDER}/NAME.yaml (or http, ftp); "
            "nothing was fetched. Correct the address."
        )
    kind = "ftp" if scheme == "ftp" else "http"
    head, _, name = url.rpartition("/")
    text = download_text(Mirror.model_validate({"kind": kind, "url": url}), name, url)
    base, _, folder = head.rpartition("/")
    return _read(text, shown(url), kind, base, folder == FOLDER)


def _in_repository(where: str) -> Located | FeatureArchive:
    match = HUB.fullmatch(where)
    if match is None:
        raise UsageError(
            f"{where}: expected hf:OWNER/REPOSITORY, perhaps with @REVISION and "
            f":{FOLDER}/NAME.yaml; nothing was fetched. Correct it."
        )
    revision, path = find_manifest(match[1], match[2], match[3], FOLDER)
    base = f"{match[1]}@{revision}:"
    mirror = Mirror.model_validate({"kind": "huggingface", "url": f"{base}{path}"})
    text = download_text(mirror, path.rpartition("/")[2], where)
    folder, _, _ = path.rpartition("/")
    above, _, last = folder.rpartition("/")
    return _read(
        text, f"hf:{base}{path}", "huggingface", base + (above and f"{above}/"), last == FOLDER
    )


def _read(
    text: str, where: Path | str, kind: str, base: str, in_place: bool
) -> Located | FeatureArchive:
    """Validate a features manifest; what others published has no ``kind``."""
    try:
        content = parse_yaml(text)
    except YamlFault:
        content = None  # `parse` tells what is wrong
    if isinstance(content, dict) and "extractors" in content:
        return parse(text, where, FeatureArchive)
    if isinstance(content, dict) and content.get("kind") != KIND:
        raise ManifestError(
            f"{where}: expected a features manifest (kind: {KIND}), got "
            f"{'kind: ' + str(content['kind'])[:40] if 'kind' in content else 'no kind'}; nothing "
            "was fetched. Name a file that `autods publish` wrote."
        )
    shared = parse(text, where, SharedFeatures)
    if not in_place:
        raise UsageError(
            f"{where}: expected it in a folder '{FOLDER}', as published, beside which its files "
            "are; nothing was fetched. Name it where it was published."
        )
    return Located(shared, kind, base)
