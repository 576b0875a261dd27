"""What one part of the check found, written to its file after every measurement."""

from __future__ import annotations

import json
import os
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

LOST = 75  # exit status of a part whose CUDA context no longer works; it goes on in a new process
DIED = "the process died here"
LATE = "no time left"
MESSAGE, TRACEBACK = 600, 6000  # characters that are kept of an error: what it says, and where from


class Findings:
    """Measurements of one part by name; what is in its file is not measured again.

    Parameters
    ----------
    path
        JSON file of the part.
    seconds
        Time that the part has.
    """

    def __init__(self, path: Path, seconds: float) -> None:
        self._path, self._ends = path, time.perf_counter() + seconds
        found: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}
        self.values = {name: value for name, value in found.items() if value != LATE}

    def left(self) -> float:
        """Return the seconds that remain."""
        return self._ends - time.perf_counter()

    def measure(
        self,
        name: str,
        body: Callable[[], Any],
        *,
        most: float | None = None,
        needs: float = 0.0,
    ) -> Any:
        """Measure and keep a value; an error is kept in its place, as a text.

        With ``most``, a larger value, or an error, is a failure of the check. Without ``needs``
        seconds left, nothing is measured.
        """
        if name in self.values:
            return self.values[name]
        if self.left() < needs:
            return self._keep(name, LATE)
        self._keep(name, DIED)
        value = self.guard(name, body)
        if self.values[name] == DIED:  # no error took its place
            if most is not None:
                value = {"value": value, "at most": most, "holds": bool(value <= most)}
            self._keep(name, value)
        return self.values[name]

    def guard(self, name: str, body: Callable[[], Any]) -> Any:
        """Return what a body returns; keep an error and its traceback as a text under its name."""
        began = time.perf_counter()
        try:
            return body()
        except Exception as error:  # whatever goes wrong, the other measurements go on
            self._keep(name, told(error))
            if _is_lost(error):
                os._exit(LOST)
            return None
        finally:
            print(f"{name}: {time.perf_counter() - began:.2f} s", flush=True)

    def _keep(self, name: str, value: Any) -> Any:
        self.values[name] = value
        write(self._path, self.values)
        return value


def write(path: Path, values: Any) -> None:
    """Write JSON to a file, which is never half written."""
    new = path.with_suffix(".new")
    new.write_text(json.dumps(values, indent=1, default=str) + "\n")
    new.replace(path)


def told(error: Exception) -> str:
    """Return what an error says and where it was raised in our code, then its traceback."""
    frames = traceback.extract_tb(error.__traceback__)
    ours = [frame for frame in frames if "site-packages" not in frame.filename] or frames
    place = f"{Path(ours[-1].filename).name}:{ours[-1].lineno}"
    first = f"ERROR {type(error).__name__} at {place}: {error}"[:MESSAGE]
    return f"{first}\n{''.join(traceback.format_exception(error))[-TRACEBACK:]}"


def _is_lost(error: Exception) -> bool:
    """Tell whether CUDA fails from now on.

    It does after a fault within a kernel. After a capture that failed no other can be made.
    """
    if not torch.cuda.is_initialized():
        return False
    if "captur" in f"{error}":
        return True
    try:
        torch.cuda.synchronize()
        torch.zeros(1, device="cuda").add_(1).item()
    except RuntimeError as fault:
        return "out of memory" not in f"{fault}"
    return False


def failures(parts: dict[str, Any]) -> list[str]:
    """Return the names of all measurements that failed: errors, deaths, values out of bounds."""
    found = []
    for part, values in parts.items():
        for name, value in values.items():
            text = value if isinstance(value, str) else ""
            wrong = text.startswith("ERROR") or text == DIED
            if wrong or (isinstance(value, dict) and value.get("holds") is False):
                found.append(f"{part}: {name}")
    return found


def unmeasured(parts: dict[str, Any]) -> list[str]:
    """Return the names of all measurements for which no time was left."""
    values = ((f"{part}: {name}", v) for part, own in parts.items() for name, v in own.items())
    return [name for name, value in values if value == LATE]


def synchronise(device: torch.device) -> None:
    """Wait until a device has done all that is queued."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
