"""A stream as a command line or a file names it; processes that need it open it anew."""

from __future__ import annotations

from dataclasses import MISSING, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from autods.core.registry import unknown

if TYPE_CHECKING:
    from autods.streams.resolve import Request
    from autods.streams.stream import Stream

SCENARIOS = "class-il or task-il; both are measured."
NAME_LENGTH = 40  # characters of a folder's default name


def option(text: str, default: Any = MISSING, **more: Any) -> Any:
    """Declare a field with what the command line says of it and the values it takes."""
    return field(default=default, metadata={"help": text, **more})


@dataclass(frozen=True)
class StreamChoice:
    """A stream as the command line names it. Processes that need the stream open it anew."""

    scenario: str = option(SCENARIOS, metavar="class-il|task-il")
    stream: str = option("Its name, YAML file, or datasets with commas.", "synthetic")
    encoder: str = option("Encoder of the features; default: the file's.", "")
    root: Path | None = field(
        default=None, metadata={"help": "Data root; default AUTODS_ROOT, else the user's folder."}
    )
    manifests: list[Path] | None = field(
        default=None, metadata={"help": "Further folder of manifests and streams.", "hidden": True}
    )
    protocol: str | None = option("clean or paper; default: the file's, else clean.", None)
    classes_per_task: int | None = option(
        "Cut datasets: about N classes a task.", None, min=1, metavar="N"
    )
    max_tasks: int | None = option("Keep only the first tasks.", None, min=1)
    normalize: str | None = option(
        "l2; or none: features as stored, not of one length.", None, hidden=True
    )
    scale: float | None = option("synthetic: samples per published sample.", None, hidden=True)
    difficulty: str | None = option(
        "synthetic: plain; or hard (heavy tails, several modes a class, wrong labels, unequal "
        "classes).",
        None,
        hidden=True,
    )
    stream_seed: int = option("synthetic: seed of the data.", 0, min=0, hidden=True)

    @property
    def folder(self) -> str:
        """A name for a folder of runs on this stream."""
        return folder_name(Path(self.stream).stem, self.scenario)

    def open(self, order: str | int) -> Stream:
        """Open the stream in an order of its tasks: ``paper``, or a seed."""
        from autods.streams.open import open_stream

        return open_stream(self.stream, self.root, self.encoder or None, **self._options(order))

    def request(self, order: str | int) -> Request:
        """Return what `open` would open: its definition, without a look at features."""
        from autods.streams.resolve import resolve

        return resolve(self.stream, self.root, self.encoder or None, **self._options(order))

    def _options(self, order: str | int) -> dict[str, Any]:
        from autods.core.root import DataRoot
        from autods.manifest.catalogue import Catalogue
        from autods.manifest.stream import SyntheticData
        from autods.streams.difficulty import DIFFICULTIES

        if self.difficulty is not None and self.difficulty not in DIFFICULTIES:
            raise unknown("difficulty", self.difficulty, DIFFICULTIES)
        sizes = {
            "scale": self.scale,
            "seed": self.stream_seed or None,
            "difficulty": self.difficulty,
        }
        given = {key: value for key, value in sizes.items() if value is not None}
        return {
            "scenario": self.scenario,
            "protocol": self.protocol,
            "order": order,
            "catalogue": Catalogue(self.manifests or (), DataRoot.open(self.root)),
            "classes_per_task": self.classes_per_task,
            "max_tasks": self.max_tasks,
            "normalize": self.normalize,
            "synthetic": SyntheticData.model_validate(given) if given else None,
        }


def folder_name(stream: str, scenario: str) -> str:
    """Return the default name of a folder of runs on a stream."""
    plain = "".join(c if c.isalnum() or c in "-_" else "-" for c in stream)
    return f"{plain[:NAME_LENGTH]}-{scenario}"
