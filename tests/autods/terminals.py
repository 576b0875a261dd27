"""What a program writes to a real terminal."""

import os
import pty
import subprocess
import sys


def written(code: str, *arguments: str, columns: int = 80) -> str:
    """Run a Python program to its good end; return what it wrote to a terminal of this width."""
    ours, theirs = pty.openpty()
    child = subprocess.Popen(
        [sys.executable, "-c", code, *arguments], stdout=theirs, stderr=theirs,
        env={**os.environ, "TERM": "xterm", "COLUMNS": str(columns)},
    )  # fmt: skip
    os.close(theirs)
    shown = b""
    while True:
        try:
            block = os.read(ours, 65536)
        except OSError:  # how Linux says that the other end is closed
            break
        if not block:
            break
        shown += block
    os.close(ours)
    assert child.wait(timeout=60) == 0
    return shown.decode()
