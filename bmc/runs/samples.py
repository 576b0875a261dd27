"""Which samples a run got right at its last evaluation: `bmc.runs.folder` writes them.

The file may come from anybody: shapes are checked before a row is read. Nothing here needs torch.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from autods.core.files import hash_file
from autods.core.seals import CHANGED
from autods.errors import UsageError

SAMPLES = "samples.safetensors"  # the file in a run's folder
SAMPLES_FORMAT = "1"
SCENARIOS = ("class-il", "task-il")
CLOSE = 1e-6  # that a mean of samples may be from the stored accuracy

Samples = dict[str, npt.NDArray[np.uint8]]


class _WrongSamples(ValueError):
    """What is wrong with a file of samples."""


def read_samples(
    path: Path,
    scenario: str,
    sizes: Mapping[str, int | None],
    accuracies: Mapping[str, float | None],
) -> Samples | None:
    """Return by task name which samples were right, uint8 [n]; ``None`` if there is no file.

    Parameters
    ----------
    sizes
        By task name the number of samples that the file must have; ``None`` if it is unknown.
    accuracies
        By task name the share that must be right; ``None`` if the task was not measured.

    Raises
    ------
    UsageError
        When the file is damaged, or disagrees with what is expected of it.
    """
    from safetensors import SafetensorError, safe_open

    if not path.exists():
        return None
    try:
        if not path.is_file():
            raise _WrongSamples("it is no file")
        with safe_open(path, framework="np") as file:
            version = (file.metadata() or {}).get("format")
            if version != SAMPLES_FORMAT:
                raise _WrongSamples(f"expected format {SAMPLES_FORMAT}, got {version}")
            names = set(file.keys())
            return {
                task: _task(file, names, f"{scenario}/{task}", size, accuracies[task])
                for task, size in sizes.items()
            }
    except (SafetensorError, OSError, _WrongSamples) as error:
        raise UsageError(
            f"expected the samples of a finished run in {path}, but: {error}; nothing was "
            "written. Run the method again."
        ) from None


def check_hash(path: Path, written: str) -> None:
    """Raise `UsageError` unless a file of samples has the sha256 that the results state."""
    if hash_file(path, "sha256") != written:
        raise UsageError(
            f"{path}: {CHANGED}; nothing was written. Run the method again in another folder."
        )


def _task(
    file: Any, names: set[str], name: str, size: int | None, accuracy: float | None
) -> npt.NDArray[np.uint8]:
    if name not in names:
        raise _WrongSamples(f"it has no {name}")
    stored = file.get_slice(name)
    shape, dtype = list(stored.get_shape()), stored.get_dtype()
    if dtype != "U8" or len(shape) != 1 or size not in (None, shape[0]):
        expected = "n" if size is None else size
        raise _WrongSamples(f"{name}: expected U8 [{expected}], got {dtype} {shape}")
    right: npt.NDArray[np.uint8] = file.get_tensor(name)
    if (right > 1).any():
        raise _WrongSamples(f"{name}: expected 0 and 1, got {right.max()}")
    if accuracy is None if len(right) else accuracy is not None:
        raise _WrongSamples(f"{name}: results.json says {accuracy} of {len(right)} samples")
    if accuracy is not None and abs(float(right.mean()) - accuracy) > CLOSE:
        raise _WrongSamples(
            f"{name}: {right.mean():.6f} of its samples are right, results.json says {accuracy:.6f}"
        )
    return right
