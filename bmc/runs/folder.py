"""The run folder: configuration, results, checkpoint. Everything is written atomically.

::

    RUN/config.json             what determines the numbers (method, configuration, stream)
    RUN/checkpoint.safetensors  tensors and state after the last finished group
    RUN/samples.safetensors     what the answers of the last evaluation were, which were right
    RUN/results.json            accuracy matrices, metrics, byte costs: identical on every run
    RUN/diverged.json           in place of results: why its numbers are none
    RUN/timing.json             seconds and peak memory: different on every run
    RUN/R_class_il.csv, R_task_il.csv, R_dataset_id.csv
"""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from autods.core.files import atomic, hash_file, read_json, write_json
from autods.core.json_texts import parse_json
from autods.core.refusals import refusal
from autods.core.seals import CHANGED, BrokenSealError, hash_parts
from autods.errors import AutodsError, UsageError
from bmc.runs.identity import without_versions
from bmc.runs.samples import ANSWER, LABEL, SAMPLES, SAMPLES_FORMAT, SCENARIOS

CONFIG = "config.json"
DIVERGED = "diverged.json"


class RunMismatch(AutodsError):
    """A run folder belongs to another configuration, stream or version."""


class RunExists(AutodsError):
    """A run folder already holds a run, and resuming it was not asked for."""


class CheckpointError(AutodsError):
    """A checkpoint could not be written, or the file on disk is not one."""


@dataclass
class RunState:
    """How far a run has come: what a checkpoint holds beside the tensors.

    ``done`` counts learned tasks, ``learned`` those at each evaluation; ``rows`` has, by matrix, T
    accuracies for each evaluation (``None``: unknown). ``counters`` are updates and bytes,
    ``seconds`` wall time per phase. ``ahead`` has task-il accuracies [T], if measured:
    ``untrained`` on every task before any training, ``before`` in the row before it was learned.
    """

    done: int = 0
    learned: list[int] = field(default_factory=list)
    rows: dict[str, list[list[float | None]]] = field(default_factory=dict)
    counters: dict[str, int] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    ahead: dict[str, list[float | None]] = field(default_factory=dict)


@dataclass(frozen=True)
class RunFolder:
    """One run on disk."""

    path: Path

    @property
    def results(self) -> Path:
        """The file of the results; the run is finished when it exists."""
        return self.path / "results.json"

    @property
    def checkpoint(self) -> Path:
        """The file of the checkpoint."""
        return self.path / "checkpoint.safetensors"

    @property
    def samples(self) -> Path:
        """The file of the answers to the samples of the last evaluation."""
        return self.path / SAMPLES

    @property
    def status(self) -> str:
        """How far the run is: ``finished``, ``diverged``, ``begun`` or ``to do``."""
        if self.results.exists():
            return "finished"
        if (self.path / DIVERGED).exists():
            return "diverged"
        return "begun" if (self.path / CONFIG).exists() else "to do"

    def begin(self, identity: dict[str, Any], resume: bool) -> None:
        """Write ``config.json``, or check that the run here is the one that is asked for.

        A finished run may be of other versions: nothing is added to it. Raises `RunExists` if a
        run is here and ``resume`` is false, `RunMismatch` if it differs from ``identity``.
        """
        config = self.path / CONFIG
        if self.path.exists() and not self.path.is_dir():
            raise RunMismatch(f"{self.path} is a file; expected a folder. Choose another --out.")
        if not config.exists():
            if self.checkpoint.exists() or self.results.exists():
                raise CheckpointError(
                    f"{config} is missing, so nothing says which run the files beside it belong "
                    f"to. Nothing was changed. Move {self.path} away, or choose another --out."
                )
            write_json(config, identity)
            return
        if not resume:
            raise RunExists(
                f"{self.path} already holds a run; it was left as it is. "
                "Add --resume to complete or reuse it, or choose another --out."
            )
        try:
            stored = dict(read_json(config))
        except (TypeError, ValueError):
            raise self._damaged(config) from None
        asked = json.loads(json.dumps(identity))
        if self.results.exists():
            stored, asked = without_versions(stored), without_versions(asked)
        differing = sorted(_differences(stored, asked))
        if differing:
            raise RunMismatch(
                f"{self.path} holds a run that differs in: {'; '.join(differing)}. "
                "It was left as it is. Choose another --out, or repeat the former settings."
            )

    def save(self, tensors: dict[str, Tensor], state: RunState) -> None:
        """Replace the checkpoint."""
        stored = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
        described = asdict(state)
        described["sha256"] = _hash(described, stored)
        self._write(self.checkpoint, stored, {"state": json.dumps(described)})

    def save_samples(
        self, right: Mapping[str, Tensor], answers: Mapping[str, Tensor] | None = None
    ) -> None:
        """Write which samples were right, and the answers; as of `bmc.runs.evaluate.Row`.

        Stored before the checkpoint that counts the last evaluation, so that a run resumed from
        it has them.
        """
        stored = {
            f"{scenario}/{name}": hits[k].to("cpu", torch.uint8)
            for name, hits in right.items()
            for k, scenario in enumerate(SCENARIOS)
        }
        for name, said in (answers or {}).items():
            for kind, numbers in zip((ANSWER, LABEL), said, strict=True):
                stored[f"{kind}/{name}"] = numbers.to("cpu", torch.int32)
        self._write(self.samples, stored, {"format": SAMPLES_FORMAT})

    def _write(self, path: Path, tensors: dict[str, Tensor], metadata: dict[str, str]) -> None:
        from safetensors import SafetensorError
        from safetensors.torch import save_file

        # `save_file` copies no tensor, but writes a file of its own naming first, which stays
        # when it is killed: in a folder that the next writer removes
        apart = path.with_name(f"{path.name}.new")
        shutil.rmtree(apart, ignore_errors=True)
        with atomic(path) as temporary:
            try:
                apart.mkdir()
                save_file(tensors, apart / path.name, metadata=metadata)
                (apart / path.name).replace(temporary)
            except (OSError, SafetensorError) as error:
                why, cure = refusal(error)
                raise CheckpointError(
                    f"{path} could not be written: {why}. The checkpoint before it is untouched. "
                    f"{cure}, then run the same command with --resume."
                ) from None
            finally:
                shutil.rmtree(apart, ignore_errors=True)

    def load(self, device: torch.device) -> tuple[dict[str, Tensor], RunState] | None:
        """Return the checkpoint's tensors and state; ``None`` if there is no checkpoint."""
        from safetensors import SafetensorError, safe_open

        if not self.checkpoint.exists():
            return None
        try:
            with safe_open(self.checkpoint, framework="pt") as file:
                # the open file is no mapping: it has keys, and cannot be iterated
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
                described = parse_json(file.metadata()["state"])
            written = described.pop("sha256", None)  # those of earlier versions have none
            if written not in (None, _hash(described, tensors)):
                raise BrokenSealError(CHANGED)
            state = RunState(**described)
        except (AttributeError, SafetensorError, TypeError, ValueError, KeyError):
            raise self._damaged(self.checkpoint) from None
        return {name: tensor.to(device) for name, tensor in tensors.items()}, state

    def mark_diverged(self, message: str, done: int) -> None:
        """Write that the run diverged; ``done`` tasks were learned before."""
        write_json(self.path / DIVERGED, {"message": message, "tasks_learned": done})

    def divergence(self) -> str | None:
        """Return why the run diverged, as it was marked; ``None``: it is not."""
        path = self.path / DIVERGED
        if not path.exists():
            return None
        try:
            return str(read_json(path)["message"])
        except (KeyError, TypeError, ValueError, BrokenSealError):
            raise self._damaged(path) from None

    def _damaged(self, path: Path) -> CheckpointError:
        return CheckpointError(
            f"{path} is damaged: it is not what this program wrote. Nothing was changed. "
            f"Move {self.path} away and run the command again, or choose another --out."
        )

    def save_matrices(self, results: dict[str, Any]) -> None:
        """Write the accuracy matrices as tables."""
        names = [task["name"] for task in results["tasks"]]
        for scenario, rows in results["R"].items():
            path = self.path / f"R_{scenario.replace('-', '_')}.csv"
            with (
                atomic(path) as temporary,
                temporary.open("w", encoding="utf-8", newline="") as handle,
            ):
                writer = csv.writer(handle)
                writer.writerow(["learned", *names])
                for learned, row in zip(results["learned"], rows, strict=True):
                    writer.writerow([learned, *("" if v is None else f"{v:.6f}" for v in row)])

    def finish(self, results: dict[str, Any], timing: dict[str, Any]) -> None:
        """Write the timing and, last, the results, with the hashes of the files beside them."""
        write_json(self.path / "timing.json", timing)
        beside = sorted({self.samples, *self.path.glob("R_*.csv")})
        files = {path.name: hash_file(path, "sha256") for path in beside if path.exists()}
        write_json(self.results, {**results, "files": files})


def _hash(state: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> str:
    """Return the hash of a checkpoint: its state, and name, dtype, shape, bytes of its tensors."""
    parts: list[Any] = [json.dumps(state, sort_keys=True)]
    for name in sorted(tensors):
        tensor = tensors[name]
        data = tensor.reshape(-1).view(torch.uint8).numpy()
        parts += [f"{name} {tensor.dtype} {list(tensor.shape)}", data]
    return hash_parts(parts)


def plain(row: npt.NDArray[np.float64]) -> list[float | None]:
    """Return a list with ``None`` for NaN, as JSON wants."""
    return [None if np.isnan(value) else float(value) for value in row]


def _differences(old: Any, new: Any, where: str = "") -> list[str]:
    if isinstance(old, dict) and isinstance(new, dict):
        prefix = f"{where}." if where else ""
        return [
            difference
            for key in old.keys() | new.keys()
            for difference in _differences(old.get(key), new.get(key), prefix + key)
        ]
    return [] if old == new else [f"{where} (was {_short(old)}, now {_short(new)})"]


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 60 else text[:57] + "..."


def finished_runs(folders: Iterable[Path]) -> list[Path]:
    """Return the finished runs in or below folders, each of which must hold some."""
    runs: list[Path] = []
    for folder in folders:
        if not folder.is_dir():
            raise UsageError(f"{folder}: expected a folder with finished runs, but there is none.")
        inside = sorted(path.parent for path in folder.rglob("results.json"))
        if not inside and (diverged := diverged_runs([folder])):
            raise UsageError(
                f"no finished run in {folder}: {len(diverged)} diverged, {diverged[0].name} first. "
                f"Its {DIVERGED} says why; run it with other settings."
            )
        if not inside:
            raise UsageError(
                f"no finished run in {folder}; expected results.json in it or below it. "
                "Finish the run with --resume, or name another folder."
            )
        runs += inside
    return runs


def diverged_runs(folders: Iterable[Path]) -> list[Path]:
    """Return the runs in or below folders that diverged."""
    return [path.parent for folder in folders for path in sorted(folder.rglob(DIVERGED))]
