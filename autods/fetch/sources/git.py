"""git: exactly one pinned commit, as plain files, the same bytes on every machine.

The user's git configuration is not read (it could convert line ends or run filters),
hooks do not run, nothing asks for a password, and links become small text files.
"""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from autods.core.network import ca_step, certificates_named, proxy_for, proxy_step
from autods.core.progress import Progress
from autods.errors import FetchError, LinkGone, Unreachable
from autods.fetch.digests import remove
from autods.fetch.sources.base import SLOWEST, SOURCES, WINDOW, Interrupted, MirrorFailed, persist
from autods.manifest.schema import FileEntry, Mirror

SETTINGS = {
    "core.autocrlf": "false",
    "core.hooksPath": os.devnull,
    "core.symlinks": "false",  # a link could point out of the archive folder
    "http.lowSpeedLimit": f"{SLOWEST:.0f}",  # bytes per second ...
    "http.lowSpeedTime": f"{WINDOW:.0f}",  # ... for so many seconds count as dropped
}
KEPT = ("GIT_SSL_CAINFO", "GIT_SSL_CAPATH", "GIT_SSH", "GIT_SSH_COMMAND", "GIT_EXEC_PATH")


# Words of git (or of curl below it) to what they mean; the first that fit count.
DROPPED = (
    "early EOF",
    "RPC failed",
    "hung up",
    "Connection reset",
    "Operation too slow",
    "returned error: 5",
    "returned error: 429",
)
MEANINGS: list[tuple[tuple[str, ...], type[FetchError]]] = [
    (("Could not resolve", "Failed to connect", "Couldn't connect", "timed out"), Unreachable),
    (("unable to connect", "Connection refused", "Network is unreachable"), Unreachable),
    # A host that asks for a name shows strangers neither private nor deleted repositories.
    (("could not read Username", "not found", "does not exist"), LinkGone),
    (("does not appear to be a git repository", "Authentication failed"), LinkGone),
]
UNTRUSTED = ("certificate problem", "certificate verif")
# A mirror on a cluster belongs to its administrator, and git refuses to read a stranger's
# repository. Reading one that the user named runs nothing from it, and the commit is checked.
READ_FOREIGN = "--upload-pack=git -c 'safe.directory=*' upload-pack"


@SOURCES.register("git")
def fetch_git(mirror: Mirror, target_part: Path, entry: FileEntry, progress: Progress) -> None:
    """Check out the pinned commit into a fresh folder, without ``.git`` (see `Source`)."""
    commit = entry.checksum.removeprefix("git:")
    target_part.mkdir(parents=True)
    progress.start(entry.name, 1, "commit")
    try:
        _git(target_part, "init", "--quiet", "--template=")
        persist(lambda: _get(target_part, mirror.url, commit), target_part, progress)
        try:
            _git(target_part, "checkout", "--quiet", "--detach", commit)
        except MirrorFailed as error:
            raise MirrorFailed(f"commit {commit} is not there ({error})", LinkGone) from None
        head = _git(target_part, "rev-parse", "HEAD").strip()
        if head != commit:
            raise MirrorFailed(f"gave commit {head}, expected {commit}")
        remove(target_part / ".git")
        progress.advance(1)
    finally:
        progress.finish()


def head_of(folder: Path) -> str | None:
    """Return the commit that a clone has checked out, ``None`` if it is no git repository.

    Raises `MirrorFailed` if git is not installed.
    """
    if not (folder / ".git").exists() and not (folder / "HEAD").is_file():
        return None  # git itself would look into the folders above, too
    try:
        return _git(folder, "-c", "safe.directory=*", "rev-parse", "--verify", "HEAD").strip()
    except MirrorFailed as error:
        if error.next_step:
            raise
        return None


def _get(folder: Path, url: str, commit: str) -> None:
    """Get a commit from a remote; all of it, where single commits are not given by number."""
    local = url.startswith("file:") or Path(url).is_dir()
    fetch = ["fetch", "--quiet", *([READ_FOREIGN] if local else [])]
    try:
        _git(folder, *fetch, "--depth=1", "--", url, commit)
    except MirrorFailed as error:
        proxy = proxy_for(url)
        if error.kind is Unreachable and proxy:
            text = f"{error} (asked through {proxy})"
            raise MirrorFailed(text, Unreachable, proxy_step(proxy)) from None
        if error.kind is not FetchError or error.next_step:
            raise
        everything = ["+refs/heads/*:refs/remotes/all/*", "+refs/tags/*:refs/tags/*"]
        _git(folder, *fetch, "--", url, *everything)


def _git(folder: Path, *arguments: str) -> str:
    """Run one git command in ``folder``; return its output, raise with its last line."""
    settings = [text for key, value in SETTINGS.items() for text in ("-c", f"{key}={value}")]
    try:
        done = subprocess.run(
            ["git", *settings, *arguments],
            cwd=folder,
            env=_environment(),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
        )
    except FileNotFoundError:
        raise MirrorFailed(
            "needs the program 'git', which is not installed",
            next_step="Install the package 'git' of your system (Debian, Ubuntu: apt install git; "
            "conda: conda install git), then run the same command again.",
        ) from None
    if done.returncode != 0:
        lines = [line for line in done.stderr.splitlines() if line.startswith(("fatal", "error"))]
        raise _meaning("; ".join(lines) or f"git {arguments[0]} failed")
    return done.stdout


def _meaning(text: str) -> Interrupted | MirrorFailed:
    if any(words in text for words in DROPPED):
        return Interrupted(text)
    if any(words in text for words in UNTRUSTED):
        return MirrorFailed(text, next_step=ca_step())
    kinds = (kind for words, kind in MEANINGS if any(word in text for word in words))
    return MirrorFailed(text, next(kinds, FetchError))


def _environment() -> dict[str, str]:
    """Return the environment without what would point git elsewhere or change its output."""
    plain = {k: v for k, v in os.environ.items() if not k.startswith("GIT_") or k in KEPT}
    named = certificates_named()
    trusted = {"GIT_SSL_CAINFO": str(named[1])} if named and named[1].is_file() else {}
    return {
        "GIT_SSH_COMMAND": "ssh -oBatchMode=yes",
        **trusted,
        **plain,
        "GIT_CONFIG_GLOBAL": os.devnull,
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_TERMINAL_PROMPT": "0",
        "GIT_ALLOW_PROTOCOL": "file:git:http:https:ssh",  # not ext::, which runs commands
        "LC_ALL": "C",
    }
