"""What a command line names, looked up: streams, methods, orders of tasks, devices."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import MISSING, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from autods.cli import complete
from autods.errors import UsageError

if TYPE_CHECKING:
    import torch

    from autods.streams.stream import Stream
    from bmc.config import Config

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
        autocompletion=complete.streams,
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


def methods_of(text: str) -> list[str]:
    """Return the methods of a comma-separated list, or all of them.

    Raises
    ------
    UnknownName, UsageError
        When a name is unknown, or there is none.
    """
    from bmc.methods import METHODS

    names = METHODS.names() if text == "all" else [part for part in text.split(",") if part]
    if not names:
        raise UsageError(f"--method: expected names such as bmc,er or 'all'; got '{text}'.")
    for name in names:
        METHODS.get(name)
    return list(dict.fromkeys(names))


def fitting(names: Iterable[str], stream: Stream, config: Config) -> tuple[list[str], list[str]]:
    """Leave out the methods that cannot learn a stream: what ``all`` means for it.

    Returns
    -------
    tuple
        The names of those that can, in their order, and a line about each that was left out.
    """
    from bmc.methods import METHODS

    reasons = {name: METHODS.get(name).unfit(stream, config) for name in names}
    notes = [f"{reason} It was left out." for reason in reasons.values() if reason is not None]
    return [name for name, reason in reasons.items() if reason is None], notes


def check_fitting(names: Iterable[str], stream: Stream, config: Config) -> None:
    """Check that methods named one by one can learn a stream.

    Raises
    ------
    UsageError
        With the reason of the first that cannot.
    """
    from bmc.methods import METHODS

    for name in names:
        if (reason := METHODS.get(name).unfit(stream, config)) is not None:
            raise UsageError(f"{reason} Nothing was run.")


def orders_of(text: str) -> list[str | int]:
    """Return ``["paper"]``, or the seeds of orders that a comma-separated list names.

    Raises
    ------
    UsageError
        When it is neither.
    """
    parts = [part.strip() for part in text.split(",") if part.strip()]
    if parts == ["paper"]:
        return ["paper"]
    if parts and all(part.isdecimal() and part.isascii() for part in parts):
        return [int(part) for part in parts]
    raise UsageError(f"--order: expected 'paper' or seeds such as 0,1,2; got '{text}'.")


def distinct_orders(
    choice: StreamChoice, orders: Sequence[str | int]
) -> tuple[dict[str | int, Stream], list[str]]:
    """Open a stream in several orders; few tasks have few orders, and none is taken twice.

    Returns
    -------
    tuple
        The streams by order, and a line about each order that was left out.
    """
    opened: dict[str | int, Stream] = {}
    known: dict[tuple[str, ...], str | int] = {}
    notes = []
    for order in orders:
        stream = choice.open(order)
        sequence = tuple(task.name for task in stream.tasks)
        if sequence in known:
            notes.append(f"Order {order} is order {known[sequence]} again; skipped.")
        else:
            known[sequence], opened[order] = order, stream
    return opened, notes


def device_of(text: str) -> torch.device:
    """Return the device that ``auto``, ``cpu``, ``cuda`` or ``cuda:N`` names.

    Raises
    ------
    UsageError
        When it names none, or one that this machine has not.
    """
    import torch

    if text == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    expected = f"--device: expected auto, cpu, cuda or cuda:N; got '{text}'."
    try:
        device = torch.device(text)
    except RuntimeError:
        raise UsageError(expected) from None
    if device.type not in ("cpu", "cuda"):
        raise UsageError(expected)
    if device.type == "cuda" and not torch.cuda.is_available():
        raise UsageError(f"--device {text}: this machine offers no CUDA device; try --device cpu.")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        last = torch.cuda.device_count() - 1
        raise UsageError(
            f"--device {text}: expected a device of this machine, cuda:0 to cuda:{last}."
        )
    return device


def with_finetune(methods: Iterable[str]) -> list[str]:
    """Add fine-tuning, whose time is 100 % of relative time, unless it is among the methods."""
    from bmc.report.load import BASE_OF_TIME

    return list(dict.fromkeys([*methods, BASE_OF_TIME]))
