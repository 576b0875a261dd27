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
        """Return what a body returns; keep an error as a text under its name."""
        try:
            return body()
        except Exception as error:  # whatever goes wrong, the other measurements go on
            last = traceback.extract_tb(error.__traceback__)[-1]
            place = f"{Path(last.filename).name}:{last.lineno}"
            self._keep(name, f"ERROR {type(error).__name__} at {place}: {error}"[:600])
            if _is_lost():
                os._exit(LOST)
            return None

    def _keep(self, name: str, value: Any) -> Any:
        self.values[name] = value
        write(self._path, self.values)
        return value


def write(path: Path, values: Any) -> None:
    """Write JSON to a file, which is never half written."""
    new = path.with_suffix(".new")
    new.write_text(json.dumps(values, indent=1, default=str) + "\n")
    new.replace(path)


def _is_lost() -> bool:
    """Tell whether CUDA fails from now on, as it does after a fault within a kernel."""
    if not torch.cuda.is_initialized():
        return False
    try:
        torch.cuda.synchronize()
        torch.zeros(1, device="cuda").add_(1).item()
    except RuntimeError as error:
        return "out of memory" not in f"{error}"
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


def synchronise(device: torch.device) -> None:
    """Wait until a device has done all that is queued."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
