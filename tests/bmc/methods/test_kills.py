"""Every method, killed with SIGKILL in the middle of a group: it resumes to the same bits."""

import json
import multiprocessing
import signal
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from small import small_config, small_stream

from bmc.methods import METHODS
from bmc.runs import run as experiment
from bmc.studies.execute import PRELOADED
from bmc.train.copies import StackedCopies

TASKS = 5
LOST = 3  # the group that is killed, counted from 1: two are in the checkpoint
BRIEF = {"epochs": 1, "experts": 2, "memory_epochs": 3, "distillation_epochs": 3}
WAIT = 60.0  # seconds after which a test gives up


def run(method: str, folder: Path) -> None:
    torch.set_num_threads(1)
    stream = small_stream(tasks=TASKS)
    experiment.run(stream, method, small_config(method, **BRIEF), folder, resume=True)


def stopping(call: Callable[..., Any], at: int, pipe: Connection) -> Callable[..., Any]:
    """Return a function that tells of its call number ``at`` after it, and waits to be killed."""
    calls = 0

    def wrapper(*args: Any, **options: Any) -> Any:
        nonlocal calls
        calls += 1
        result = call(*args, **options)
        if calls == at:
            pipe.send("here")
            pipe.recv()
        return result

    return wrapper


def run_to_evaluation(method: str, folder: Path, at: int, pipe: Connection) -> None:
    """Come as far as an evaluation: a group is learned then, and not in the checkpoint."""
    experiment.evaluate = stopping(experiment.evaluate, at, pipe)
    run(method, folder)


def run_to_update(method: str, folder: Path, at: int, pipe: Connection) -> None:
    """Come as far as an update of the network."""
    StackedCopies.update = stopping(StackedCopies.update, at, pipe)  # type: ignore[method-assign]
    run(method, folder)


@pytest.fixture(scope="module")
def context() -> multiprocessing.context.ForkServerContext:
    made = multiprocessing.get_context("forkserver")
    made.set_forkserver_preload([*PRELOADED, "pytest"])
    return made


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def groups_of(method: str) -> int:
    stream, config = small_stream(tasks=TASKS), small_config(method, **BRIEF)
    made = METHODS.get(method)(stream.dim, stream.n_classes, config, torch.device("cpu"))
    return -(-TASKS // made.group_size(TASKS))


def kill(context, target: Callable[..., None], method: str, folder: Path, at: int) -> None:
    """Start a run, and kill it when it says that it is there."""
    ours, theirs = context.Pipe()
    process = context.Process(target=target, args=(method, folder, at, theirs))
    process.start()
    theirs.close()
    try:
        assert ours.poll(WAIT), "the run did not come to the place where it is to be killed"
        assert ours.recv() == "here"
    finally:
        process.kill()
        process.join()
    assert process.exitcode == -signal.SIGKILL


def resume(context, method: str, folder: Path) -> None:
    process = context.Process(target=run, args=(method, folder))
    process.start()
    process.join(WAIT)
    assert process.exitcode == 0


def checkpoint(folder: Path) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    with safe_open(folder / "checkpoint.safetensors", framework="pt") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        return tensors, json.loads(file.metadata()["state"])


def assert_same(one: Path, two: Path) -> None:
    assert (one / "results.json").read_bytes() == (two / "results.json").read_bytes()
    tensors, others = checkpoint(one)[0], checkpoint(two)[0]
    assert tensors and tensors.keys() == others.keys()
    for name, tensor in tensors.items():
        other = others[name]
        assert (tensor.dtype, tensor.shape) == (other.dtype, other.shape), name
        assert tensor.numpy().tobytes() == other.numpy().tobytes(), name


@pytest.mark.parametrize("method", METHODS.names())
def test_a_run_killed_before_a_group_is_kept_ends_with_the_same_bits(method, context, tmp_path):
    groups = groups_of(method)
    kill(context, run_to_evaluation, method, tmp_path / "killed", min(LOST, groups))
    assert not (tmp_path / "killed" / "results.json").exists()
    if groups == 1:  # learned all at once: it starts again
        assert not (tmp_path / "killed" / "checkpoint.safetensors").exists()
    else:
        assert len(checkpoint(tmp_path / "killed")[1]["learned"]) == LOST - 1
    resume(context, method, tmp_path / "killed")
    run(method, tmp_path / "undisturbed")
    assert_same(tmp_path / "killed", tmp_path / "undisturbed")


@pytest.mark.parametrize(("method", "update"), [("er", 8), ("icarl", 8), ("gdumb", 8)])
def test_a_run_killed_between_updates_ends_with_the_same_bits(method, update, context, tmp_path):
    kill(context, run_to_update, method, tmp_path / "killed", update)
    learned = checkpoint(tmp_path / "killed")[1]["learned"]
    assert learned == list(range(1, {"er": 4, "icarl": 3, "gdumb": 3}[method]))
    resume(context, method, tmp_path / "killed")
    run(method, tmp_path / "undisturbed")
    assert_same(tmp_path / "killed", tmp_path / "undisturbed")
