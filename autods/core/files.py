"""Files that are whole or absent: atomic placement, locks, hashes, JSON.

A temporary file has the target's name plus ``.tmp`` and lies beside it, so a
killed command leaves at most one stale file, which the next run overwrites.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import platform
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]  # where it is absent

from autods.core.hashed import hashed
from autods.core.json_texts import deep_values
from autods.core.refusals import FULL
from autods.core.seals import sealed, unsealed
from autods.core.trees import list_tree
from autods.errors import Busy

LITTER = (".DS_Store", "Thumbs.db", "desktop.ini")  # of Finder and Explorer
# Folders of macOS, Synology and Windows, with copies, previews and what was deleted
LITTER_FOLDERS = frozenset({"__MACOSX", "@eaDir", "$RECYCLE.BIN", "System Volume Information"})
BLOCK = 1 << 20  # bytes read at once when hashing and copying
NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP)  # of file systems without locks
MANY = 1000  # files of a folder above which the whole disk is flushed at once


@contextmanager
def atomic(target: Path) -> Iterator[Path]:
    """Give a temporary path beside ``target``; move it into place on success.

    The content is flushed to disk before the rename, and its folder after it. When the body
    raises, the temporary file is removed and ``target`` stays as it was. Two processes that write
    the same target have files of their own; the one that ends last stays.
    """
    make_folder(target.parent)
    with _reserved(target) as temporary:
        try:
            yield temporary
            put_in_place(temporary, target)
        except BaseException as error:
            temporary.unlink(missing_ok=True)
            if isinstance(error, OSError) and error.errno in FULL and error.filename is None:
                error.filename = str(target)  # a write knows no name
            raise


@contextmanager
def _reserved(target: Path) -> Iterator[Path]:
    """Give the name of an empty temporary file that nobody else writes meanwhile.

    It is ``target`` with ``.tmp``, also if a killed process left that; only while another
    process works on it the name is one of this process.
    """
    usual = target.with_name(target.name + ".tmp")
    own = target.with_name(f"{target.name}.{os.getpid()}-{threading.get_ident()}.tmp")
    if fcntl is None:  # there, no open file could be renamed
        yield own if usual.exists() else usual
        return
    for temporary in (usual, own):
        descriptor = os.open(temporary, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            if temporary == own or _is_ours(descriptor, temporary):
                os.ftruncate(descriptor, 0)
                yield temporary
                return
        finally:
            os.close(descriptor)


def _is_ours(descriptor: int, path: Path) -> bool:
    """Lock an open file; tell whether nobody else has it, and it still has its name."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:  # a file system without locks
        return True
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False


def put_in_place(whole: Path, target: Path) -> None:
    """Rename a whole file or folder so that a power cut leaves the former or the new one.

    Its content must be on the disk before the name is, and the name before anyone builds on it.
    """
    within = list(whole.rglob("*")) if whole.is_dir() and not whole.is_symlink() else []
    if len(within) > MANY and hasattr(os, "sync"):
        os.sync()
    else:
        for path in [*within, whole]:
            sync(path)
    whole.replace(target)
    sync(target.parent)
    if whole.parent != target.parent:
        sync(whole.parent)


def make_folder(folder: Path) -> None:
    """Make a folder and those above it, so that a power cut does not lose their names."""
    missing = [one for one in (folder, *folder.parents) if not one.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    for made in missing:
        sync(made.parent)


def sync(path: Path) -> None:
    """Write a file, or the names in a folder, to the disk.

    Folders of file systems that cannot do so, and those of Windows, are left to the system.
    """
    is_folder = path.is_dir()
    on_windows = os.name == "nt"  # there, only what may be written can be flushed
    try:
        descriptor = os.open(path, os.O_RDWR if on_windows and not is_folder else os.O_RDONLY)
    except OSError:
        if is_folder:
            return
        raise
    try:
        os.fsync(descriptor)
    except OSError:
        if not is_folder:
            raise
    finally:
        os.close(descriptor)


def write_json(target: Path, value: Any) -> None:
    """Write JSON atomically: sorted keys, two spaces, one final newline.

    An object is sealed with the hash of its content, which `read_json` checks. A file that has this
    content already is left alone, so that a command that changes nothing needs no right to write.
    """
    if isinstance(value, Mapping):
        value = sealed(value)
    content = (json.dumps(value, indent=2, sort_keys=True) + "\n").encode()
    with suppress(OSError):
        if target.read_bytes() == content:
            return
    with atomic(target) as temporary:
        temporary.write_bytes(content)


def read_json(path: Path) -> Any:
    """Return what `write_json` wrote, without the seal; files of earlier versions have none.

    `ValueError` if it is not JSON, or not what was written (`BrokenSealError`).
    """
    with deep_values():
        return unsealed(json.loads(path.read_text(encoding="utf-8")))[0]


def hash_file(path: Path, algorithm: str) -> str:
    """Return the hex digest of a file's content (``md5``, ``sha256`` ...)."""
    digest = hashlib.new(algorithm, usedforsecurity=False)
    with path.open("rb") as handle:
        while block := handle.read(BLOCK):
            digest.update(block)
            hashed(len(block))
    return digest.hexdigest()


def hash_tree(folder: Path) -> str:
    """Return the sha256 over the sorted relative paths and contents below a folder.

    Files that file browsers leave behind are ignored: opening a folder does not change it.
    """
    digest = hashlib.sha256()
    for name, _, _ in list_tree(folder).files:
        if not is_litter(name):
            line = f"{name}\0{hash_file(folder / name, 'sha256')}\n"
            digest.update(line.encode(errors="surrogateescape"))  # a name's bytes as they are
    return digest.hexdigest()


def is_litter(name: str) -> bool:
    """Tell whether a file is one that file browsers leave behind, by its path."""
    file = name.rpartition("/")[2]
    return file in LITTER or file.startswith("._")


@contextmanager
def held(path: Path, what: str, note: Callable[[str], None]) -> Iterator[None]:
    """Hold the lock on ``path`` as `locked` does; tell if another process has it, then wait."""
    with ExitStack() as stack:
        try:
            stack.enter_context(locked(path, timeout=0))
        except Busy:
            note(f"another process works on {what}; waiting for it to end")
            stack.enter_context(locked(path))
        yield


@contextmanager
def locked(path: Path, timeout: float = 600.0) -> Iterator[None]:
    """Hold an inter-process lock on ``path`` (a ``.lock`` file beside it).

    Where nothing can be written beside ``path``, nothing is locked: what is there can still be
    read, and who writes learns why that fails.

    `Busy` names the process that keeps the lock for more than ``timeout`` seconds.
    """
    from filelock import FileLock, Timeout

    lock = FileLock(path.with_name(path.name + ".lock"), timeout=timeout)
    holder = path.with_name(path.name + ".holder")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock.acquire()
        holder.write_text(f"process {os.getpid()} on {platform.node()}", encoding="utf-8")
    except Timeout:  # only here: a `Timeout` of the body is about another lock
        name = holder.read_text(encoding="utf-8") if holder.exists() else "another process"
        raise Busy(
            f"{path} is being written by {name}; waited {timeout:.0f} s; nothing was changed. "
            "Wait until it has finished, then run the same command again."
        ) from None
    except (NotImplementedError, OSError) as error:
        lock.release()
        if isinstance(error, NotImplementedError) or error.errno in NO_LOCKS:
            raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK), lock.lock_file) from None
        if not _only_readable(path.parent, error):
            raise
        yield
        return
    try:
        yield
    finally:
        holder.unlink(missing_ok=True)
        lock.release()


def _only_readable(folder: Path, error: OSError) -> bool:
    """Tell whether an error means that this user can write nothing in a folder."""
    if error.errno == errno.EROFS:
        return True
    above = next((one for one in (folder, *folder.parents) if one.exists()), folder)
    denied = error.errno in (errno.EACCES, errno.EPERM)
    return denied and above.is_dir() and not os.access(above, os.W_OK)
