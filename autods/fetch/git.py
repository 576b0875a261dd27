"""git: exactly one pinned commit, as plain files, the same bytes on every machine.

The user's git configuration is not read (it could convert line ends or run filters),
hooks do not run, nothing asks for a password, and links become small text files.
"""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from autods.fetch.base import SOURCES, MirrorFailed, remove
from autods.manifest import FileEntry, Mirror
from autods.progress import Progress

SETTINGS = {
    "core.autocrlf": "false",
    "core.hooksPath": os.devnull,
    "core.symlinks": "false",  # a link could point out of the archive folder
    "http.lowSpeedLimit": "1",  # bytes per second ...
    "http.lowSpeedTime": "60",  # ... for so many seconds count as a dropped connection
}
KEPT = ("GIT_SSL_CAINFO", "GIT_SSL_CAPATH", "GIT_SSH", "GIT_SSH_COMMAND", "GIT_EXEC_PATH")


@SOURCES.register("git")
def fetch_git(mirror: Mirror, target_part: Path, entry: FileEntry, progress: Progress) -> None:
    """Check out the pinned commit into a fresh folder, without ``.git`` (see `Source`)."""
    commit = entry.checksum.removeprefix("git:")
    target_part.mkdir(parents=True)
    progress.start(entry.name, 1, "commit")
    try:
        _git(target_part, "init", "--quiet", "--template=")
        try:
            _git(target_part, "fetch", "--quiet", "--depth=1", "--", mirror.url, commit)
        except MirrorFailed:
            # Not every server gives a commit by its number: fetch all, the commit is among it.
            everything = ["+refs/heads/*:refs/remotes/all/*", "+refs/tags/*:refs/tags/*"]
            _git(target_part, "fetch", "--quiet", "--", mirror.url, *everything)
        try:
            _git(target_part, "checkout", "--quiet", "--detach", commit)
        except MirrorFailed as error:
            raise MirrorFailed(f"commit {commit} is not there ({error})") from None
        head = _git(target_part, "rev-parse", "HEAD").strip()
        if head != commit:
            raise MirrorFailed(f"gave commit {head}, expected {commit}")
        remove(target_part / ".git")
        progress.advance(1)
    finally:
        progress.finish()


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
            "needs the program 'git', which is not installed; install the package 'git' "
            "of your system (Debian, Ubuntu: apt install git; conda: conda install git)"
        ) from None
    if done.returncode != 0:
        lines = [line for line in done.stderr.splitlines() if line.startswith(("fatal", "error"))]
        raise MirrorFailed("; ".join(lines) or f"git {arguments[0]} failed")
    return done.stdout


def _environment() -> dict[str, str]:
    """Return the environment without what would point git elsewhere or change its output."""
    plain = {k: v for k, v in os.environ.items() if not k.startswith("GIT_") or k in KEPT}
    return {
        "GIT_SSH_COMMAND": "ssh -oBatchMode=yes",
        **plain,
        "GIT_CONFIG_GLOBAL": os.devnull,
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_TERMINAL_PROMPT": "0",
        "GIT_ALLOW_PROTOCOL": "file:git:http:https:ssh",  # not ext::, which runs commands
        "LC_ALL": "C",
    }
