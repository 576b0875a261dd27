"""The home folder; containers run under users that have none and no entry in passwd."""

from __future__ import annotations

import getpass
import os
import sys
import tempfile
import warnings
from pathlib import Path

from autods.errors import UsageError


def home() -> Path | None:
    """Return the user's home folder, ``None`` if neither HOME nor the system names one."""
    if (named := Path(os.environ.get("HOME", ""))).is_absolute():
        return named
    try:
        known = Path("~").expanduser() if sys.platform == "win32" else _of_passwd()
    except (KeyError, RuntimeError, ImportError):  # no entry, or a Python without `pwd`
        return None
    return known if known.is_absolute() else None


def substitute() -> Path:
    """Return a folder to use in place of a missing home; no other user may write to it.

    It lies among the temporary files, which a system may remove.
    """
    user = os.getuid() if hasattr(os, "getuid") else "user"
    folder = Path(tempfile.gettempdir()) / f"autods-home-{user}"
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        status = folder.lstat()
        if folder.is_symlink() or user not in ("user", status.st_uid):
            raise PermissionError
    except OSError:  # it is another's
        return Path(tempfile.mkdtemp(prefix="autods-home-"))
    return folder


def user_folder() -> Path:
    """Return the home folder, else what serves as one, with a warning."""
    known = home()
    if known is None:
        known = substitute()
        warnings.warn(_told(known), stacklevel=2)
    return known


def ensure_home() -> str:
    """Give this process, and every library in it, a home folder and the name of a user.

    Return a line that says which folder serves as a home, ``""`` if there was one.
    """
    try:
        getpass.getuser()
    except (KeyError, OSError, ImportError):
        os.environ["USER"] = f"user-{os.getuid()}" if hasattr(os, "getuid") else "user"
    if home() is not None:
        return ""
    os.environ["HOME"] = str(folder := substitute())
    return _told(folder)


def expanded(path: Path | str) -> Path:
    """Return a path with the home folder in place of ``~``; `UsageError` if that is not known."""
    try:
        return Path(path).expanduser()
    except RuntimeError:
        raise UsageError(
            f"{path}: the home folder that '{Path(path).parts[0]}' stands for is not known here; "
            "nothing was done. Write the path in full."
        ) from None


def _of_passwd() -> Path:
    import pwd

    return Path(pwd.getpwuid(os.getuid()).pw_dir)


def _told(folder: Path) -> str:
    return (
        "no home folder is known (HOME is not set, and this user has no entry in passwd); "
        f"{folder} serves as one. Set HOME, or AUTODS_ROOT for the data: what lies there may be "
        "removed."
    )
