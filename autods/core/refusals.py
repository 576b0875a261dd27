"""What the system refuses, in plain words: one true line and one cure for each cause."""

from __future__ import annotations

import errno
import re
from typing import NamedTuple

NO_THREAD = "can't start new thread"
MEMORY_WORDS = (
    "can't allocate memory",
    "cannot allocate memory",
    NO_THREAD,
    "out of memory",
    "bad_alloc",
    "not enough memory",
    "failed to map segment",  # how a library is loaded that finds no room
)


class Refusal(NamedTuple):
    """Why the system refused, and what the user does about it: one sentence each, without stops."""

    why: str
    cure: str


MEMORY = Refusal(
    "no more memory can be had",
    "Raise the limit of memory (ulimit -v, that of the container or of the batch job), or use "
    "fewer --workers",
)
# Python tells no limit on threads from a lack of memory for them
THREADS = Refusal(
    "no more processes or threads can be started",
    "Raise the limits (ulimit -u and -v; of a container, those of pids and memory), or use fewer "
    "--workers",
)
LOCKS = Refusal(
    "the file system grants no file locks",
    "Choose a folder on a file system with locks (on NFS the server has to run its lock service; "
    "'autods doctor' tests it)",
)
TEMPORARY = Refusal(
    "no folder for temporary files can be written, which processes need to find each other",
    "Free space in /tmp, or set TMPDIR to a folder with space",
)
REFUSALS: dict[int, Refusal] = {
    errno.ENOSPC: Refusal("the disk is full", "Free space there, or choose another folder"),
    errno.EDQUOT: Refusal(
        "your quota on this disk is used up",
        "Remove files of yours there ('quota -s' shows the quota), or choose another folder",
    ),
    errno.EFBIG: Refusal(
        "the file would be larger than this file system or the limit of this process allows",
        "Raise the limit ('ulimit -f' shows it), or choose a folder on another file system",
    ),
    errno.EROFS: Refusal(
        "the file system can only be read",
        "Choose a folder on another file system, or mount this one for writing",
    ),
    errno.EACCES: Refusal(
        "this user has no permission",
        "Correct the permissions or the owner ('ls -ld' shows both), or choose another folder",
    ),
    errno.EPERM: Refusal(
        "this user has no permission",
        "Correct the permissions or the owner ('ls -ld' shows both), or choose another folder",
    ),
    errno.ENOLCK: LOCKS,
    errno.ENAMETOOLONG: Refusal(
        "a name or a path is longer than the file system allows",
        "Choose a folder with a shorter path",
    ),
    errno.EMFILE: Refusal(
        "this process may not open more files",
        "Raise the limit ('ulimit -n' shows it; 'ulimit -n 4096' raises it)",
    ),
    errno.ENFILE: Refusal(
        "the system has no more open files to give", "End other programs, or raise fs.file-max"
    ),
    errno.ENOMEM: MEMORY,
    errno.EAGAIN: THREADS,  # of fork
    errno.EIO: Refusal(
        "the disk failed, or the network behind it",
        "Check the disk (its errors are in the system's log: 'dmesg')",
    ),
    errno.ESTALE: Refusal(
        "the file was replaced on its server while it was open",
        "See that nothing else works in the folder",
    ),
    errno.ELOOP: Refusal("links lead in a circle", "Correct the links"),
    errno.EISDIR: Refusal(
        "a folder is where a file is expected", "Move the folder away, or choose another name"
    ),
    errno.ENOTDIR: Refusal(
        "a file is where a folder is expected", "Move the file away, or choose another folder"
    ),
}
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)  # no space, no quota, no larger file
OTHERWISE = "Mend the cause (space, permission, path)"


def refusal(error: Exception) -> Refusal:
    """Return why the system refused and what to do, in its own words if no better are known.

    Libraries written in Rust have errors of their own, whose text ends in "(os error 28)".
    """
    if isinstance(error, OSError):
        number, words = error.errno, error.strerror
    else:
        number, words = None, None
    if words and words.startswith("No usable temporary directory"):  # tempfile's
        return TEMPORARY
    if found := re.search(r"\(os error (\d+)\)", str(error)):
        number = int(found[1])
    return REFUSALS.get(number or 0) or Refusal(words or str(error), OTHERWISE)


def cause_of(error: BaseException, most: int = 200) -> str:
    """Return the first line of an error's text, cut to so many characters, else its class."""
    text = f"{error}".strip()
    return text.splitlines()[0][:most] if text else type(error).__name__


def why_refused(error: OSError) -> str:
    """Return why the system refused, with the file that it names."""
    file = refused_file(error)
    return f"{refusal(error).why} ({file})" if file else refusal(error).why


def refused_file(error: OSError) -> str:
    """Return the file that an error is about: of a copy or a rename, where it should go."""
    full = error.errno in (*FULL, errno.EROFS)
    return str((full and error.filename2) or error.filename or "")


def lack(error: BaseException) -> Refusal:
    """Return of what there is a lack, for errors of `lacks_memory`."""
    return THREADS if NO_THREAD in str(error).lower() else MEMORY


def lacks_memory(error: BaseException) -> bool:
    """Tell whether an error, of whichever library, means that there is no more memory."""
    if isinstance(error, OSError):
        return error.errno == errno.ENOMEM
    if isinstance(error, MemoryError):
        return True
    told = str(error).lower()
    return isinstance(error, RuntimeError | ImportError) and any(w in told for w in MEMORY_WORDS)
