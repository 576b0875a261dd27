"""Which mirrors can give a file, the user's own among them, and which failure to tell first."""

from __future__ import annotations

from collections.abc import Sequence
from urllib.parse import quote

from autods.core.home import expanded
from autods.errors import (
    ChecksumMismatch,
    CredentialsMissing,
    DiskFull,
    FetchError,
    LinkGone,
    QuotaExceeded,
    RulesNotAccepted,
    Unreachable,
    UsageError,
)
from autods.fetch.sources.base import MirrorFailed, shown
from autods.manifest.schema import FileEntry, Mirror

_BYTES = ("http", "ftp", "gdrive", "kaggle", "kaggle-competition", "huggingface", "file")

# What each form of checksum can come from: a folder has no bytes that http could send,
# and only git itself can tell that a folder is a commit.
KINDS = {"md5": _BYTES, "sha256": _BYTES, "tree": ("file",), "git": ("git",)}

# From the failure that the user can do most about to the one that leaves least to do.
USEFUL: tuple[type[FetchError], ...] = (
    DiskFull,
    CredentialsMissing,
    RulesNotAccepted,
    QuotaExceeded,
    ChecksumMismatch,
    Unreachable,
    FetchError,
    LinkGone,
)


def fits(mirror: Mirror, entry: FileEntry) -> bool:
    """Tell whether a mirror of this kind can give what the checksum describes."""
    return mirror.kind in KINDS[entry.checksum.partition(":")[0]]


def described(mirror: Mirror) -> str:
    """Return a mirror for a message: its address, or its kind and name; no passwords."""
    plain = mirror.kind in ("http", "ftp", "git", "file")
    return shown(mirror.url) if plain else f"{mirror.kind} {mirror.url}"


def check_mirrors(mirrors: Sequence[str]) -> None:
    """Raise `UsageError` for a mirror that is no address and no existing folder."""
    for base in mirrors:
        scheme = base.partition("://")[0].lower() if "://" in base else ""
        if scheme not in ("", "http", "https", "ftp"):
            raise UsageError(
                f"mirror '{shown(base)}': expected http://, https://, ftp:// or a local folder, "
                f"got '{scheme}://'; nothing was fetched. Correct the mirror."
            )
        if not scheme and not expanded(base).is_dir():
            raise UsageError(
                f"mirror '{base}': there is no such folder; nothing was fetched. Correct the "
                "path, or mount what holds it."
            )


def users_mirrors(mirrors: Sequence[str], dataset: str, entry: FileEntry) -> list[Mirror]:
    """Return where the user's mirrors hold one file, whatever kind the manifest's mirrors are.

    A file is at ``<mirror>/<dataset>/<file>``; for a ``git:`` entry that is a git
    repository. Mirrors that cannot give the form of the checksum are left out.
    """
    is_git = entry.checksum.startswith("git:")
    found = []
    for base in mirrors:
        if "://" in base:
            url = f"{base.rstrip('/')}/{quote(f'{dataset}/{entry.name}')}"
            is_ftp = base.lower().startswith("ftp:")
            kind = "ftp" if is_ftp else "git" if is_git else "http"
        else:
            url = str(expanded(base).resolve() / dataset / entry.name)
            kind = "git" if is_git else "file"
        found.append(Mirror.model_validate({"kind": kind, "url": url}))
    return [mirror for mirror in found if fits(mirror, entry)]


def most_useful(
    dataset: str, message: str, failures: Sequence[MirrorFailed | FetchError]
) -> FetchError:
    """Return one error for all failures, of the class that the user can do most about."""

    def kind_of(failure: MirrorFailed | FetchError) -> type[FetchError]:
        return failure.kind if isinstance(failure, MirrorFailed) else type(failure)

    first = min(failures, key=lambda failure: USEFUL.index(kind_of(failure)))
    again = min((each.again for each in failures if each.again is not None), default=None)
    return kind_of(first)(message, first.next_step, first.url, dataset=dataset, again=again)
