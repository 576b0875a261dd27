"""What ``--version`` prints: the version, and the environment that a report of a bug needs.

Versions are those of the installed packages; none of them is imported, which takes seconds.
"""

from __future__ import annotations

import ctypes
import os
import platform
import re
import sys
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

import typer

from autods.core.version import __version__

PACKAGES = ("torch", "torchvision", "open_clip_torch", "timm", "h5py", "numpy", "pillow", "pyarrow")
DRIVERS = {"linux": "libcuda.so.1", "win32": "nvcuda.dll"}


def add_version(app: typer.Typer) -> None:
    """Give a command line the option ``--version``."""
    app.callback()(_options)


def describe(program: str) -> str:
    """Return name and version in the first line, and the environment below it."""
    rows = {
        "python": f"{platform.python_version()} ({sys.executable})",
        "platform": platform.platform(),
        **{name: installed(name) for name in PACKAGES},
        "CUDA": cuda(),
        "data root": data_root(),
    }
    width = max(map(len, rows))
    lines = [f"{key:<{width}}  {value}" for key, value in rows.items()]
    return "\n".join([f"{program} {__version__}", *lines])


def installed(package: str) -> str:
    """Return the version of an installed package."""
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"


def cuda() -> str:
    """Say whether torch was built for CUDA, and how many devices the driver has."""
    return f"{_built()}; {_devices()}"


def data_root() -> str:
    """Return the data root that is used without ``--root``, and where it comes from."""
    from autods.core.root import default_root

    source = "AUTODS_ROOT" if os.environ.get("AUTODS_ROOT") else "default"
    return f"{default_root()} ({source})"


def _show(context: typer.Context, wanted: bool) -> None:
    if wanted:
        typer.echo(describe(context.find_root().info_name or "autods"))
        raise typer.Exit


def _options(
    version: Annotated[
        bool,
        typer.Option(
            "--version",
            callback=_show,
            is_eager=True,
            help="Show the version and the environment, for reports of bugs.",
        ),
    ] = False,
) -> None:
    pass


def _built() -> str:
    spec = find_spec("torch")
    if spec is None or spec.origin is None:
        return "no torch"
    text = (Path(spec.origin).parent / "version.py").read_text("utf-8")
    found = re.search(r"^cuda\b[^=]*= *'([^']+)'", text, re.MULTILINE)
    return f"torch built for {found[1]}" if found else "torch built without it"


def _devices() -> str:
    count = ctypes.c_int(0)
    try:
        driver = ctypes.CDLL(DRIVERS.get(sys.platform, ""))
        failed = driver.cuInit(0) or driver.cuDeviceGetCount(ctypes.byref(count))
    except (OSError, AttributeError):
        return "no driver"
    if failed:
        return f"the driver answers with error {failed}"
    return f"{count.value} device{'' if count.value == 1 else 's'}"
