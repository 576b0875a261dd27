"""The base of layout families: typed parameters plus one method that reads.

Splits per protocol, label numbers and sample ids are derived later, in `autods.index`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from sys import intern

from autods.containers import Container
from autods.containers.array_specs import ImageSource
from autods.containers.base import Why
from autods.core.strict import Strict

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".gif", ".tif", ".tiff", ".webp", ".ppm", ".pgm")


@dataclass(frozen=True, slots=True)  # there are millions
class RawSample:
    """One image as a layout family finds it.

    Attributes
    ----------
    file
        Name of the manifest file (container) that holds it.
    member
        Path inside that container, POSIX, as the container spells it.
    labels
        Task name to label key (text); see `autods.manifest.schema.TaskSpec`.
    split
        Official split name, or ``None`` when the archive has none.
    group
        What a split must not tear apart (patient, track ...), or ``None``.
    """

    file: str
    member: str
    labels: Mapping[str, str]
    split: str | None = None
    group: str | None = None


class Layout(Strict):
    """Base of all layout families. Each adds ``family`` and its parameters."""

    def files(self) -> list[str]:
        """Return the manifest files that this layout reads."""
        raise NotImplementedError

    def labelled(self) -> list[str]:
        """Return the tasks that this layout gives labels of."""
        raise NotImplementedError

    def nested_files(self) -> dict[str, list[str]]:
        """Return patterns of the inner archives to open, for those of `files` that have some."""
        return {}

    def arrays(self) -> Mapping[str, Sequence[ImageSource]]:
        """Return the arrays of images to read, for those of `files` that hold some."""
        return {}

    def judge(self, file: str) -> Callable[[str], Why]:
        """Return a function that tells why a member of ``file`` is no sample, by its name."""
        return lambda name: Why.UNMATCHED if is_image(name) else Why.UNSUPPORTED

    def read(self, containers: Mapping[str, Container]) -> Iterator[RawSample]:
        """Yield every sample, in any order.

        Parameters
        ----------
        containers
            Manifest file name to opened container, for every name in `files`. A plain
            file (a list, a .mat) is a container with one member named like the file.

        Raises
        ------
        LayoutError
            When the container is not laid out as the parameters say; the message names
            file, line or member, and what was expected.
        """
        raise NotImplementedError


class Labels(Mapping[str, str]):
    """Task name to label key; of 40 labels it takes a fifth of the memory of a dict."""

    __slots__ = ("_columns", "_keys")

    def __init__(self, columns: dict[str, int], keys: tuple[str, ...]) -> None:
        self._columns = columns  # of each task in keys; shared by all samples
        self._keys = keys

    def __getitem__(self, task: str) -> str:
        return self._keys[self._columns[task]]

    def __iter__(self) -> Iterator[str]:
        return iter(self._columns)

    def __len__(self) -> int:
        return len(self._keys)


class Shared:
    """Returns equal labels as one object: there are few of them and millions of samples.

    ``tasks`` are labelled, in the order of the label keys.
    """

    def __init__(self, tasks: Iterable[str]) -> None:
        self._columns = {task: column for column, task in enumerate(tasks)}
        self._labels: dict[tuple[str, ...], Labels] = {}

    def __call__(self, keys: Iterable[str]) -> Labels:
        """Return the one object for these label keys."""
        labels = tuple(keys)
        if (found := self._labels.get(labels)) is None:
            labels = tuple(map(intern, labels))
            found = self._labels[labels] = Labels(self._columns, labels)
        return found


def is_hidden(member: str) -> bool:
    """Tell whether the name of a file, or of a folder that it lies in, begins with a dot."""
    return member.startswith(".") or "/." in member


def is_image(member: str, suffixes: tuple[str, ...] | None = None) -> bool:
    """Tell whether a member has one of these suffixes (in any case; default: those of images).

    The suffix ``""`` stands for names without a dot. Hidden files, and files in hidden folders,
    never are images.
    """
    if is_hidden(member):
        return False
    name = member.rsplit("/", 1)[-1]
    if suffixes is None:
        return name.lower().endswith(IMAGE_SUFFIXES)
    endings = tuple(text.lower() for text in suffixes if text)
    return name.lower().endswith(endings) or ("" in suffixes and "." not in name)
