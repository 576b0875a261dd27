"""A stream as a command line or a file names it; processes that need it open it anew."""

from __future__ import annotations

from dataclasses import MISSING, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from autods.errors import UsageError

if TYPE_CHECKING:
    from autods.streams.stream import Stream

NAME_LENGTH = 40  # characters of a folder's default name


def _option(text: str, default: Any = MISSING, **more: Any) -> Any:
    """Declare a field with what the command line says of it and the values it takes."""
    return field(default=default, metadata={"help": text, **more})


@dataclass(frozen=True)
class StreamChoice:
    """A stream as the command line names it. Processes that need the stream open it anew."""

    scenario: str = _option("class-il or task-il; both are measured.")
    stream: str = _option(
        "A stream by name, YAML file, or comma-separated datasets.",
        "synthetic",
    )
    encoder: str = _option("Encoder whose features are used; default what a file says.", "")
    root: Path | None = field(
        default=None, metadata={"help": "Data root; default AUTODS_ROOT, else the user's folder."}
    )
    manifests: list[Path] | None = field(
        default=None, metadata={"help": "Further folder of manifests and streams."}
    )
    protocol: str | None = _option("clean or paper; default what a file says, else clean.", None)
    classes_per_task: int | None = _option(
        "Cut datasets into tasks of about so many classes.", None, min=1
    )
    max_tasks: int | None = _option("Keep only the first tasks.", None, min=1)
    scale: float | None = _option("synthetic: samples per published sample.", None)
    stream_seed: int = _option("synthetic: seed of the data.", 0, min=0)

    @property
    def folder(self) -> str:
        """A name for a folder of runs on this stream."""
        name = Path(self.stream).stem
        plain = "".join(c if c.isalnum() or c in "-_" else "-" for c in name)
        return f"{plain[:NAME_LENGTH]}-{self.scenario}"

    def open(self, order: str | int) -> Stream:
        """Open the stream in an order of its tasks: ``paper``, or a seed.

        Raises
        ------
        UsageError, AutodsError
            When a name is unknown, an option has no use for this stream, or features are missing.
        """
        from autods.core.registry import unknown
        from autods.manifest.schema import PROTOCOLS

        if self.protocol is not None and self.protocol not in PROTOCOLS:
            raise unknown("protocol", self.protocol, PROTOCOLS)
        return self._synthetic(order) if self.stream == "synthetic" else self._stored(order)

    def _synthetic(self, order: str | int) -> Stream:
        from autods.streams.synthetic import synthetic_stream

        self._refuse({"--encoder": self.encoder, "--classes-per-task": self.classes_per_task})
        size: dict[str, Any] = {} if self.scale is None else {"scale": self.scale}
        return synthetic_stream(
            **size,
            seed=self.stream_seed,
            order=order,
            scenario=self.scenario,
            tasks=self.max_tasks,
        )

    def _stored(self, order: str | int) -> Stream:
        from autods.core.registry import unknown
        from autods.core.root import DataRoot
        from autods.manifest.catalogue import Catalogue
        from autods.streams.resolve import defined
        from autods.streams.stream import Stream

        self._refuse({"--scale": self.scale, "--stream-seed": self.stream_seed})
        catalogue = Catalogue(self.manifests or ())
        spec = defined(self.stream, catalogue)
        if not self.encoder and (spec is None or not (spec.encoder or spec.synthetic)):
            known = {*catalogue.streams(), *catalogue.datasets(), "synthetic"}
            if self.stream.isidentifier() and self.stream not in known | {"all"}:
                raise unknown("stream", self.stream, known)
            raise UsageError(
                f"--encoder is needed to open stream '{self.stream}'; expected the name of a "
                "feature set, for example ViT-B-32.laion2b_s34b_b79k. `autods status` lists what "
                "is there."
            )
        return Stream.open(
            self.stream,
            DataRoot.open(self.root),
            self.encoder or None,
            scenario=self.scenario,
            protocol=self.protocol,
            order=order,
            catalogue=catalogue,
            classes_per_task=self.classes_per_task,
            max_tasks=self.max_tasks,
        )

    def _refuse(self, options: dict[str, Any]) -> None:
        """Raise `UsageError` for options the stream has no use for, rather than ignore them."""
        given = [name for name, value in options.items() if value]
        if given:
            raise UsageError(
                f"stream '{self.stream}' has no use for {', '.join(given)}; leave it out."
            )
