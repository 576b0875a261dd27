"""Compare the manifests' checksums and sizes with lists that others publish; print what is missing.

The lists are files or folders that you have: TFDS's ``checksums.tsv`` and ``url_checksums/*.txt``,
``dataset_infos.json`` of Hugging Face, ``md5sum`` files, Python or R loaders that name checksums,
and listings with git-annex keys (``MD5E-s<bytes>--<md5>``). They are read as text, never executed:

    python scripts/compare_checksums.py site-packages/torchvision/datasets tensorflow_datasets/
"""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from autods.manifest.catalogue import Catalogue
from autods.manifest.sources import FileEntry

ENDINGS = (".tsv", ".txt", ".json", ".py", ".r", ".md5", ".sha256", ".csv", ".yaml", ".md", "")
LARGEST = 20_000_000  # bytes of a list; larger files are data
TSV = re.compile(r"^(?P<url>\S+://\S.*?)[\t ]+(?P<size>\d+)[\t ]+(?P<sha256>[0-9a-f]{64})", re.M)
SUMS = re.compile(r"^(?P<sum>[0-9a-f]{32}|[0-9a-f]{64})[\t ]+\*?(?P<name>\S.*?)\s*$", re.M)
ANNEX = re.compile(r"MD5E?-s(?P<size>\d+)--(?P<md5>[0-9a-f]{32})")
HEX = re.compile(r"(?<![0-9a-f])(?P<sum>[0-9a-f]{64}|[0-9a-f]{32})(?![0-9a-f])")


@dataclass(frozen=True)
class Published:
    """What a list says of one file; ``None`` where it says nothing."""

    source: str
    url: str | None = None
    size: int | None = None
    md5: str | None = None
    sha256: str | None = None


@dataclass(frozen=True)
class Verdict:
    """What the lists say of one file of a manifest, in words, each with its list."""

    dataset: str
    file: str
    confirmed: tuple[str, ...] = ()
    differs: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()


def read_lists(paths: Iterable[Path]) -> list[Published]:
    """Return what all lists say; files that are no text or no list say nothing."""
    found: list[Published] = []
    for path in paths:
        files = sorted(path.rglob("*")) if path.is_dir() else [path]
        for file in files:
            is_list = file.is_file() and file.suffix.lower() in ENDINGS
            if is_list and file.stat().st_size <= LARGEST:
                text = file.read_text(encoding="utf-8", errors="replace")
                name = str(file.relative_to(path.parent)) if path.is_dir() else file.name
                found += read_list(text, name)
    return list(dict.fromkeys(found))


def read_list(text: str, source: str) -> Iterator[Published]:
    """Yield what one list says, whatever its form."""
    rest = text
    for form in (TSV, SUMS):
        for each in form.finditer(rest):
            if form is TSV:
                yield Published(source, each["url"], int(each["size"]), sha256=each["sha256"])
            else:
                yield Published(source, each["name"], **_checksum(each["sum"]))
        rest = form.sub("", rest)
    for each in ANNEX.finditer(rest):
        yield Published(source, size=int(each["size"]), md5=each["md5"])
    rest = ANNEX.sub("", rest)
    if source.endswith(".json"):
        yield from _dataset_infos(text, source)
        return
    for each in HEX.finditer(rest.lower()):
        yield Published(source, **_checksum(each["sum"]))


def _dataset_infos(text: str, source: str) -> Iterator[Published]:
    """Yield the ``download_checksums`` of Hugging Face's ``dataset_infos.json``."""
    try:
        infos = json.loads(text)
    except ValueError:
        return
    for info in infos.values() if isinstance(infos, dict) else ():
        sums = info.get("download_checksums") if isinstance(info, dict) else None
        for url, value in (sums or {}).items():
            yield Published(source, url, value["num_bytes"], sha256=value["checksum"])


def _checksum(text: str) -> dict[str, str]:
    return {"md5" if len(text) == 32 else "sha256": text}


def judge(dataset: str, entry: FileEntry, lists: Iterable[Published]) -> Verdict:
    """Compare one file with all lists: by checksum, else by the address it comes from."""
    form, _, checksum = entry.checksum.partition(":")
    ours = {"sha256": entry.sha256, form: checksum}
    addresses = {_plain(mirror.url) for mirror in entry.mirrors if len(mirror.url) > 12}
    confirmed, differs, missing = [], [], []
    for each in lists:
        theirs = {"md5": each.md5, "sha256": each.sha256}
        same = [key for key, value in theirs.items() if value and value == ours.get(key)]
        here = each.url is not None and any(a in _plain(each.url) for a in addresses)
        if not (same or here):
            continue
        confirmed += [f"{key} ({each.source})" for key in same]
        for key, value in theirs.items():
            if value and key not in same:
                of = differs if ours.get(key) else missing
                of.append(f"{key}: {value} ({each.source})")
        if each.size is not None and entry.size is not None:
            text = f"{each.size:,} bytes ({each.source})"
            (confirmed if each.size == entry.size else differs).append(text)
        elif each.size is not None:
            missing.append(f"size: {each.size} ({each.source})")
    texts = (tuple(dict.fromkeys(each)) for each in (confirmed, differs, missing))
    return Verdict(dataset, entry.name, *texts)


def _plain(url: str) -> str:
    """Return an address without its scheme, and of the Hub without words that vary."""
    text = url.partition("://")[2] or url
    return text.partition("?download=1")[0].removeprefix("www.")


def main() -> None:
    """Print a line for each file that a list says something about, and what no list has."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("lists", nargs="+", type=Path, help="files or folders with lists")
    parser.add_argument("--manifests", type=Path, action="append", default=[], metavar="DIR")
    parser.add_argument("--json", action="store_true", help="print everything, for programs")
    args = parser.parse_args()
    for path in args.lists:
        if not path.exists():
            parser.error(f"{path} does not exist")
    lists = read_lists(args.lists)
    catalogue = Catalogue(args.manifests)
    verdicts = [
        judge(name, entry, lists)
        for name in catalogue.datasets()
        for entry in catalogue.dataset(name).files
    ]
    if args.json:
        print(json.dumps([vars(verdict) for verdict in verdicts], indent=1))
        return
    for verdict in verdicts:
        for word in ("confirmed", "differs", "missing"):
            for text in getattr(verdict, word):
                print(f"{word:9}  {verdict.dataset}/{verdict.file}: {text}")
    silent = [verdict for verdict in verdicts if not (verdict.confirmed or verdict.differs)]
    told = [verdict for verdict in silent if not verdict.missing]
    print(
        f"{len(lists)} statements about files. Of {len(verdicts)} files of the manifests, "
        f"{len(verdicts) - len(silent)} are compared, {sum(bool(v.differs) for v in verdicts)} "
        f"differ, {sum(bool(v.missing) for v in verdicts)} lack something that a list has; no "
        f"list says anything of {len(told)}."
    )


if __name__ == "__main__":
    main()
