"""What runs on the machines of a Ray cluster: a process that holds an encoder and makes shards.

Nothing of Ray is imported here; `ray_engine` starts these workers and gives them jobs.
"""

from __future__ import annotations

import os
import platform
import time
import uuid
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import torch

from autods.encode.engines.devices import Factory
from autods.encode.engines.local import make_shards
from autods.encode.jobs import ShardJob, ShardReport
from autods.errors import ClusterError

PACKAGES = ("autods-bmc", "numpy", "pillow", "torch", "torchvision")  # decide features to the bit
PATIENCE = 5.0  # seconds until a file that another machine wrote must be seen


@dataclass(frozen=True)
class Token:
    """A file that only those see who see the same data root."""

    path: Path
    text: str

    def check(self) -> None:
        """Raise `ClusterError` if this machine does not see the file."""
        until = time.monotonic() + PATIENCE
        while not (self.path.is_file() and self.path.read_text("utf-8") == self.text):
            if time.monotonic() > until:
                raise ClusterError(
                    f"expected {platform.node()} to see the data root as the machine does on which "
                    f"the command runs, but {self.path} is not the same there; no shard was made "
                    "on it. Mount one shared file system at the same path on all machines of the "
                    "cluster, and name it by --root."
                )
            time.sleep(0.1)


@contextmanager
def shared_token(folder: Path) -> Iterator[Token]:
    """Lay a token beside a folder of features that is locked by this process."""
    token = Token(folder.with_name(folder.name + ".token"), uuid.uuid4().hex)
    token.path.write_text(token.text, "utf-8")
    try:
        yield token
    finally:
        token.path.unlink(missing_ok=True)


@dataclass(frozen=True)
class Machine:
    """Where a process runs, as far as features depend on it."""

    name: str
    packages: dict[str, str]  # version of each of `PACKAGES`
    processor: str  # what the encoder computes with; another may change last bits
    folder: Path  # where relative paths begin

    @classmethod
    def here(cls, device: str) -> Machine:
        """Describe this process, for an encoder on ``device``."""
        cuda = device.startswith("cuda") and torch.cuda.is_available()
        kind = torch.cuda.get_device_name() if cuda else torch.backends.cpu.get_cpu_capability()
        packages = {name: version(name) for name in PACKAGES}
        return cls(platform.node(), packages, kind, Path.cwd())

    def check_software(self, driver: Machine) -> None:
        """Raise `ClusterError` if the driver has another version of a package."""
        for name, expected in driver.packages.items():
            if self.packages[name] != expected:
                raise ClusterError(
                    f"expected {name} {expected} on {self.name}, as on {driver.name}, got "
                    f"{self.packages[name]}: its features could differ. No shard was made on it; "
                    "install the same versions on all machines of the cluster."
                )


class Worker:
    """Makes shards, one after another, once it is prepared."""

    def prepare(
        self, factory: Factory, device: str, threads: int, decoders: int, driver: Machine
    ) -> Machine:
        """Load the encoder; return where this is.

        ``threads`` are the encoder's on the CPU; with 0 ``decoders`` this process decodes.
        ``cuda`` is the one GPU that Ray shows to it. Raises `ClusterError` if the versions of
        packages differ from the driver's.
        """
        here = Machine.here(device)
        here.check_software(driver)
        with suppress(OSError):  # a checkpoint file may be named relative to it
            os.chdir(driver.folder)
        torch.set_num_threads(threads)
        self._decoders = decoders
        self._encoder = factory(device)
        return here

    def make(self, jobs: Sequence[ShardJob], token: Token) -> Generator[ShardReport, None, None]:
        """Make shards as `make_shards` does; report each once it is in the shared root.

        Raises `ClusterError` if this machine does not see the data root.
        """
        token.check()
        yield from make_shards(jobs, self._encoder, self._decoders)
