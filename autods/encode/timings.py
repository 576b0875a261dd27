"""Where the time of an extraction goes: seconds of each stage, and which one holds up the rest."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from typing import Any

WAITING = 0.10  # share of the time above which the encoder is not the bottleneck


@dataclass(frozen=True)
class Processes:
    """How many processes work at once."""

    decoders: int  # only read and decode; 0: the encoders do it
    encoders: int = 1  # one for each device


@dataclass(frozen=True)
class Timings:
    """Images and seconds of work, by stage; what ran side by side is summed."""

    images: int = 0  # unreadable ones included
    read: float = 0.0  # by the processes that decode
    decode: float = 0.0  # by the same, from bytes to pixels
    start: float = 0.0  # until the first batch was there
    wait: float = 0.0  # after that, of the encoder for decoded images
    encode: float = 0.0  # normalisation of pixels included
    jpegs: float = 0.0  # of it, until a GPU had decoded JPEG files
    write: float = 0.0  # of shards, beside the encoder
    stall: float = 0.0  # of the encoder, for a shard to be written

    def __add__(self, other: Timings) -> Timings:
        """Return the sums, stage by stage."""
        pairs = ((getattr(self, f.name), getattr(other, f.name)) for f in fields(self))
        return Timings(*(one + two for one, two in pairs))

    @property
    def waited(self) -> float:
        """Share of the encoder's time, 0 to 1, in which it waited for decoded images."""
        return self.wait / (self._busy or 1.0)

    @property
    def stalled(self) -> float:
        """Share of the encoder's time, 0 to 1, in which it waited for the disk."""
        return self.stall / (self._busy or 1.0)

    @property
    def _busy(self) -> float:
        return self.wait + self.encode + self.stall

    def rates(self, processes: Processes) -> dict[str, float]:
        """Return images/s of each stage by itself, as if no other held it up."""
        decoders = max(processes.encoders, processes.decoders)
        lanes = {"read": decoders, "decode": decoders, "encode": processes.encoders, "write": 1}
        seconds = {name: getattr(self, name) for name in lanes}
        return {name: lanes[name] * self.images / s for name, s in seconds.items() if s > 0}

    def line(self, processes: Processes) -> str:
        """Return the stages in a few words, for a line of progress."""
        rates = self.rates(processes)
        parts = [f"{name} {rates[name]:,.0f}/s" for name in ("decode", "encode") if name in rates]
        return ", ".join([*parts, f"encoder waits {self.waited:.0%}"]) if parts else ""

    def bottleneck(self, processes: Processes, cores: int) -> str:
        """Say in one sentence which stage holds up the others, and what to do about it."""
        if self.stalled > max(self.waited, WAITING):
            return (
                f"writing is the bottleneck: the encoder waited {self.stalled:.0%} of the time for "
                "the disk; use a faster one for the features"
            )
        if self.waited <= WAITING and self.jpegs > self.encode / 2:
            return (
                f"decoding on the GPU is the bottleneck: it took {self.jpegs / self.encode:.0%} of "
                "the encoder's time; leave out --gpu-decode where many cores can decode"
            )
        if self.waited <= WAITING:
            return f"the encoder is the bottleneck: it waited {self.waited:.0%} of the time"
        share = f"the encoder waited {self.waited:.0%} of the time"
        if self.read > self.decode:
            return f"reading is the bottleneck: {share}; use a faster disk for the archives"
        if processes.decoders < cores:
            return f"decoding is the bottleneck: {share}; add --workers"
        return f"decoding is the bottleneck: {share}, and all {cores} cores decode"

    def record(self, processes: Processes) -> dict[str, Any]:
        """Return seconds, rates and the share of waiting as plain JSON."""
        seconds = {name: round(value, 3) for name, value in asdict(self).items()}
        del seconds["images"]
        rates = {name: round(rate, 1) for name, rate in self.rates(processes).items()}
        return {"seconds": seconds, "images_per_second": rates, "waited": round(self.waited, 4)}
