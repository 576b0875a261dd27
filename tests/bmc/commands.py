"""``bmc-stream`` for tests: in this process, or in one of its own that can be killed."""

import contextlib
import subprocess
import time
from pathlib import Path

from typer.testing import CliRunner
from warm import program

from autods.errors import AutodsError
from bmc.cli.app import app


def bmc_stream(*arguments: object, cwd: Path) -> tuple[int, str, str]:
    """Run a command here: processes of its runs start quickly, since their server stays."""
    with contextlib.chdir(cwd):
        done = CliRunner().invoke(app, [str(argument) for argument in arguments])
    if isinstance(done.exception, AutodsError):
        return done.exception.exit_code, done.stdout, f"{done.stderr}error: {done.exception}\n"
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    return done.exit_code, done.stdout, done.stderr


def start(*arguments: object, cwd: Path) -> subprocess.Popen[str]:
    """Start a command as from a shell."""
    return subprocess.Popen(
        [program("bmc-stream"), *map(str, arguments)], cwd=cwd, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip


def wait_for(folder: Path, pattern: str) -> Path:
    """Return the first file of a pattern as soon as it exists."""
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        if path := next(iter(folder.rglob(pattern)), None):
            return path
        time.sleep(0.01)
    raise TimeoutError(f"no {pattern} in {folder}")
