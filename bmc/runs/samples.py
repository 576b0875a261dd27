"""What a run answered at its last evaluation, and what was right: `bmc.runs.folder` writes it.

The file may come from anybody: shapes are checked before a row is read. Nothing here needs torch.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from autods.core.files import hash_file
from autods.core.seals import CHANGED
from autods.errors import UsageError

SAMPLES = "samples.safetensors"  # the file in a run's folder
SAMPLES_FORMAT = "1"
SCENARIOS = ("class-il", "task-il")
ANSWER, LABEL = "answer", "label"  # what the names of arrays of classes begin with
CLOSE = 1e-6  # that a mean of samples may be from the stored accuracy

Samples = dict[str, npt.NDArray[np.uint8]]


class Answers(NamedTuple):
    """Class-il answers and labels of the samples of a task: int64 [n], global class numbers."""

    answer: npt.NDArray[np.int64]
    label: npt.NDArray[np.int64]


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
    with _opened(path) as file:
        if file is None:
            return None
        names = set(file.keys())
        return {
            task: _task(file, names, f"{scenario}/{task}", size, accuracies[task])
            for task, size in sizes.items()
        }


def read_answers(
    path: Path,
    sizes: Mapping[str, int | None],
    accuracies: Mapping[str, float | None],
    classes: int,
) -> dict[str, Answers] | None:
    """Return by task name what was answered; ``None`` if there is no file, or it has no answers.

    ``classes`` is the number of classes of all tasks. The rest is as of `read_samples`.
    """
    with _opened(path) as file:
        if file is None or not (names := set(file.keys())) & {f"{ANSWER}/{task}" for task in sizes}:
            return None
        found = {}
        for task, size in sizes.items():
            answer = _numbers(file, names, f"{ANSWER}/{task}", size, classes)
            label = _numbers(file, names, f"{LABEL}/{task}", len(answer), classes)
            _check_share(f"{ANSWER}/{task}", answer == label, accuracies.get(task))
            found[task] = Answers(answer, label)
        return found


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    """Open the file; ``None`` if there is none. What is wrong with it becomes a `UsageError`."""
    from safetensors import SafetensorError, safe_open

    if not path.exists():
        yield None
        return
    try:
        if not path.is_file():
            raise _WrongSamples("it is no file")
        with safe_open(path, framework="np") as file:
            version = (file.metadata() or {}).get("format")
            if version != SAMPLES_FORMAT:
                raise _WrongSamples(f"expected format {SAMPLES_FORMAT}, got {version}")
            yield file
    except (SafetensorError, OSError, _WrongSamples) as error:
        raise UsageError(
            f"expected the samples of a finished run in {path}, but: {error}; nothing of it was "
            f"used. Move {path.parent} away, then run the method again."
        ) from None


def check_hash(path: Path, written: str) -> None:
    """Raise `UsageError` unless a file of samples has the sha256 that the results state."""
    if hash_file(path, "sha256") != written:
        raise UsageError(
            f"{path}: {CHANGED}; nothing of it was used. Move {path.parent} away, then run the "
            "method again."
        )


def _task(
    file: Any, names: set[str], name: str, size: int | None, accuracy: float | None
) -> npt.NDArray[np.uint8]:
    right: npt.NDArray[np.uint8] = _array(file, names, name, size, "U8")
    if (right > 1).any():
        raise _WrongSamples(f"{name}: expected 0 and 1, got {right.max()}")
    _check_share(name, right, accuracy)
    return right


def _numbers(
    file: Any, names: set[str], name: str, size: int | None, classes: int
) -> npt.NDArray[np.int64]:
    numbers: npt.NDArray[np.int64] = _array(file, names, name, size, "I32").astype(np.int64)
    if len(numbers) and not 0 <= numbers.min() <= numbers.max() < classes:
        raise _WrongSamples(f"{name}: expected numbers of {classes} classes")
    return numbers


def _array(file: Any, names: set[str], name: str, size: int | None, dtype: str) -> Any:
    """Read an array [n] once its type and shape are known to be those expected."""
    if name not in names:
        raise _WrongSamples(f"it has no {name}")
    stored = file.get_slice(name)
    shape, got = list(stored.get_shape()), stored.get_dtype()
    if got != dtype or len(shape) != 1 or size not in (None, shape[0]):
        expected = "n" if size is None else size
        raise _WrongSamples(f"{name}: expected {dtype} [{expected}], got {got} {shape}")
    return file.get_tensor(name)


def _check_share(name: str, right: npt.NDArray[Any], accuracy: float | None) -> None:
    if accuracy is None if len(right) else accuracy is not None:
        raise _WrongSamples(f"{name}: results.json says {accuracy} of {len(right)} samples")
    if accuracy is not None and abs(float(right.mean()) - accuracy) > CLOSE:
        raise _WrongSamples(
            f"{name}: {right.mean():.6f} of its samples are right, results.json says {accuracy:.6f}"
        )
