"""Engines give the same bits: real Ray, real processes and nodes that are killed."""

import json
import os
import pickle
import signal
import subprocess
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
import torch
from ray_tools import workers_of
from safetensors.torch import load_file
from small import CPU, small_config, small_stream, tensors
from typer.testing import CliRunner
from warm import program

from autods.core.progress import Silent
from autods.core.ray_cluster import import_ray
from autods.errors import ClusterError, UnknownName, UsageError
from bmc.cli.app import app
from bmc.config import Config
from bmc.engines import LocalEngine, open_engine, ray_engine
from bmc.engines.apart import Setting
from bmc.engines.base import model_bytes
from bmc.engines.ray_engine import RayEngine
from bmc.engines.ray_worker import Place, task_bytes, train_part, versions
from bmc.methods import METHODS
from bmc.network.mlp import ResidualMLP
from bmc.runs.run import run
from bmc.train.memory import Samples
from bmc.train.parts import experts_of

pytestmark = pytest.mark.skipif(
    not Path("/proc/self/task").exists(), reason="looks at processes in /proc"
)

NODE = {"num_cpus": 2, "object_store_memory": 80 << 20}
STREAM = small_stream()
CONFIG = small_config("bmc", epochs=6)  # 6 tasks: groups of 4 and 2
LONG = small_config("bmc", epochs=40, experts=6)  # 12 tasks: two groups of 6


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    """Two nodes of two cores each."""
    ray = import_ray()
    from ray.cluster_utils import Cluster

    soon = {"_system_config": {"health_check_period_ms": 1000, "health_check_failure_threshold": 3}}
    made = Cluster(initialize_head=True, head_node_args=NODE | soon)  # a dead node is known soon
    try:
        made.add_node(**NODE)
        yield made
    finally:
        ray.shutdown()
        made.shutdown()


@pytest.fixture(scope="module")
def engine(cluster) -> Iterator[RayEngine]:
    with open_engine("ray", cluster.address) as made:
        yield made


@pytest.fixture(scope="module")
def calm(tmp_path_factory) -> Path:
    """An undisturbed run of the local engine."""
    return run(STREAM, "bmc", CONFIG, tmp_path_factory.mktemp("calm"))


def assert_same(folder: Path, expected: Path) -> None:
    """Compare results to the byte and the last base model and memory to the bit."""
    for name in ("results.json", "config.json", "R_class_il.csv"):
        assert (folder / name).read_bytes() == (expected / name).read_bytes(), name
    ours, theirs = (load_file(part / "checkpoint.safetensors") for part in (folder, expected))
    assert ours.keys() == theirs.keys()
    for name, tensor in ours.items():
        assert tensor.dtype == theirs[name].dtype
        assert torch.equal(tensor, theirs[name]), name


def base(config: Config = CONFIG) -> ResidualMLP:
    return METHODS.get("bmc")(STREAM.dim, STREAM.n_classes, config, CPU).net


@pytest.mark.parametrize("workers", [2, 4])
def test_a_run_on_ray_has_the_bytes_of_a_local_run(workers, tmp_path, calm, cluster, engine):
    part = RayEngine(cluster.address, workers)
    run(STREAM, "bmc", CONFIG, tmp_path, engine=part)
    assert_same(tmp_path, calm)
    timing = json.loads((tmp_path / "timing.json").read_text())
    assert timing["engine"] == "ray"
    assert timing["peak_worker_host_bytes"] > 50e6  # torch alone takes more
    assert timing["checkpoint_bytes"] == (tmp_path / "checkpoint.safetensors").stat().st_size


@pytest.mark.parametrize("rows", [0, 40])
def test_experts_that_end_early_end_alike_on_ray_of_whole_tasks_and_of_cut_ones(engine, rows):
    config = small_config("bmc", epochs=60, patience=1, expert_rows=rows)
    experts = experts_of(tensors(STREAM), config)
    assert len(experts) == (19 if rows else len(STREAM.tasks))
    local = LocalEngine().train(base(), experts, config)
    assert len(set(local.steps)) > 1
    there = engine.train(base(), experts, config)
    assert replace(there, buffers=[]) == replace(local, buffers=[])
    for ours, theirs in zip(there.buffers, local.buffers, strict=True):
        assert ours.to_bytes() == theirs.to_bytes()


def test_a_local_run_has_the_same_bytes_with_two_threads_as_with_one(tmp_path):
    before = torch.get_num_threads()
    for threads in (1, 2):
        folder = tmp_path / f"{threads}"
        run(STREAM, "bmc", small_config("bmc", experts=6), folder, threads=threads)
        machine = json.loads((folder / "timing.json").read_text())["machine"]
        assert machine["threads"] == threads
    assert torch.get_num_threads() == before
    assert_same(tmp_path / "1", tmp_path / "2")


class AfterFirstGroup(Silent):
    """Starts something once the first group is learned."""

    def __init__(self, action: Thread) -> None:
        self.action = action

    def advance(self, amount: int) -> None:
        if amount and not self.action.ident:
            self.action.start()


def test_a_worker_and_a_node_killed_under_way_change_no_byte(tmp_path, cluster, engine):
    stream = small_stream(12)
    expected = run(stream, "bmc", LONG, tmp_path / "calm")
    victim = cluster.add_node(**NODE)
    cluster.wait_for_nodes()
    killed = []

    def kill() -> None:
        for node in (cluster.head_node, victim):
            until = time.monotonic() + 30
            while not (workers := workers_of(node, work="train_part")) and time.monotonic() < until:
                time.sleep(0.005)
            killed.append(workers[0])
            os.kill(workers[0], signal.SIGKILL)
        cluster.remove_node(victim, allow_graceful=False)

    thread = Thread(target=kill)
    run(stream, "bmc", LONG, tmp_path / "ray", engine=engine, report=AfterFirstGroup(thread))
    thread.join(timeout=60)
    assert len(killed) == 2
    assert_same(tmp_path / "ray", expected)


CHILD = """
import sys
sys.path.insert(0, {tests!r})
from pathlib import Path
from ray_tools import workers_of
from small import small_config, small_stream
from bmc.engines import open_engine
from bmc.runs.run import run
with open_engine({name!r}, {address!r}) as engine:
    run(small_stream(), "bmc", small_config("bmc", epochs=6), Path({folder!r}), engine=engine)
"""


@pytest.mark.parametrize(("first", "then"), [("ray", "local"), ("local", "ray")])
def test_a_killed_run_is_completed_by_another_engine(first, then, tmp_path, calm, cluster, engine):
    address = cluster.address if first == "ray" else None
    tests = str(Path(__file__).parents[1])
    code = CHILD.format(tests=tests, name=first, address=address, folder=str(tmp_path))
    process = subprocess.Popen([program("python"), "-c", code])
    while not (tmp_path / "checkpoint.safetensors").exists():
        assert process.poll() is None
        time.sleep(0.001)
    process.kill()
    assert process.wait() == -signal.SIGKILL
    assert not (tmp_path / "results.json").exists()
    other = engine if then == "ray" else LocalEngine()
    run(STREAM, "bmc", CONFIG, tmp_path, engine=other, resume=True)
    assert_same(tmp_path, calm)


def test_what_is_sent_is_the_buffers_and_less_than_one_per_cent_more():
    group, config = tensors(STREAM), small_config("bmc", epochs=6, buffer=1000)
    trained = LocalEngine().train(base(), group, config)
    buffers = sum(buffer.nbytes() for buffer in trained.buffers)
    assert buffers < trained.communication_bytes < 1.01 * buffers
    model = model_bytes(base())
    assert trained.broadcast_bytes == len(group) * len(model)
    numbers = sum(tensor.numel() for tensor in base().state_dict().values())
    assert 4 * numbers < len(model) < 1.01 * 4 * numbers
    # and as Ray serialises it: a pickle of one object of bytes for each buffer
    setting = Setting(config, STREAM.dim, STREAM.n_classes, 30, threads=1)
    places = [Place(t.index, t.name, t.dataset, t.start, t.stop) for t in group]
    threads = torch.get_num_threads()
    answer = train_part(setting, versions(), "cpu", places, model, *map(task_bytes, group))
    torch.set_num_threads(threads)
    assert sum(map(len, answer.buffers)) == trained.communication_bytes
    assert len(pickle.dumps(answer)) < 1.01 * buffers


def test_a_buffer_survives_being_sent():
    buffer = LocalEngine().train(base(), tensors(STREAM)[:1], CONFIG).buffers[0]
    again = Samples.from_bytes(buffer.to_bytes(), CPU)
    for name, tensor in vars(buffer).items():
        assert getattr(again, name).dtype == tensor.dtype
        assert torch.equal(getattr(again, name), tensor)


def test_the_experts_with_most_samples_start_first():
    parts = RayEngine()._parts(tensors(STREAM))
    sizes = [len(task.train) for (task,) in parts]
    assert sizes == sorted(sizes, reverse=True)
    assert len(set(sizes)) > 1


def test_the_command_line_runs_experts_on_a_cluster_or_says_why_not(tmp_path, cluster, engine):
    options = ["run", "--scenario", "class-il", "--max-tasks", "2", "--scale", "0.0001"]
    places = {"ray": ["--engine", "ray", "--ray-address", cluster.address], "local": []}
    for name, place in places.items():
        done = CliRunner().invoke(app, [*options, *place, "--out", str(tmp_path / name)])
        assert done.exit_code == 0, done.output
    here, there = (next((tmp_path / name).glob("*/results.json")) for name in places)
    assert here.read_bytes() == there.read_bytes()
    done = CliRunner().invoke(app, [*options, *places["ray"], "--method", "er,slda"])
    assert isinstance(done.exception, UsageError)
    assert "--method er,slda has none" in str(done.exception)


def test_workers_with_another_torch_are_refused_and_both_versions_named(engine, monkeypatch):
    here = versions()
    monkeypatch.setattr(ray_engine, "versions", lambda: {**here, "torch": "1.0"})
    refused = rf"expected torch 1\.0 on .* got {here['torch'][:4]}"
    for _ in range(10):  # errors while other experts start: Ray aborted the program now and then
        with pytest.raises(ClusterError, match=refused):
            engine.train(base(), tensors(STREAM), CONFIG)
    monkeypatch.undo()
    assert len(engine.train(base(), tensors(STREAM)[:1], CONFIG).buffers) == 1


def test_engines_that_cannot_be_had_are_refused_before_anything_runs(cluster, engine):
    with pytest.raises(UnknownName, match="did you mean ray"), open_engine("rey"):
        pass
    with pytest.raises(UsageError, match="--ray-workers goes with --engine ray"):
        open_engine("local", workers=2).__enter__()
    with pytest.raises(UsageError, match="expected a cluster with GPUs"):
        open_engine("ray", cluster.address, device="cuda").__enter__()
