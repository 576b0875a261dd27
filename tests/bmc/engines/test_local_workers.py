"""Experts in worker processes of this machine: the bits of one process, killed workers, shares."""

import json
import multiprocessing
import os
import signal
import threading
import time
from dataclasses import replace
from pathlib import Path
from unittest.mock import Mock

import pytest
import torch
from safetensors.torch import load_file
from small import CPU, small_config, small_stream, tensors

import bmc
from autods.errors import ClusterError
from bmc.config import Config
from bmc.engines import LocalEngine, crew_devices, local_worker, open_engine, worker_devices
from bmc.engines.base import Trained
from bmc.methods import METHODS
from bmc.network.mlp import ResidualMLP
from bmc.runs.choice import StreamChoice
from bmc.runs.run import run
from bmc.studies.compare import compare_study
from bmc.studies.options import StudyOptions
from bmc.train.data import Split
from bmc.train.parts import experts_of

pytestmark = pytest.mark.skipif(
    not Path("/proc/self/task").exists(), reason="looks at processes in /proc"
)

STREAM = small_stream()
LONG = small_config("bmc", epochs=40, experts=6)
TWO = ["cpu", "cpu"]


def base() -> ResidualMLP:
    return METHODS.get("bmc")(STREAM.dim, STREAM.n_classes, LONG, CPU).net


@pytest.fixture(scope="module")
def told() -> list[str]:
    """What the engine says."""
    return []


@pytest.fixture(scope="module")
def engine(told):
    made = LocalEngine(TWO, told.append, start=0)
    yield made
    made.close()


def assert_equal(ours: Trained, theirs: Trained) -> None:
    assert replace(ours, buffers=[]) == replace(theirs, buffers=[])
    for one, other in zip(ours.buffers, theirs.buffers, strict=True):
        assert one.to_bytes() == other.to_bytes()


def workers_of(engine: LocalEngine) -> list[int]:
    """Return the process ids of the engine's workers."""
    return [worker._process.pid for worker in engine._crew._workers]


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"patience": 1, "epochs": 60},
        {"lam": 0.0, "buffer_choice": "first"},
        {"feature_loss": "squared", "batch_size": 7},
        {"expert_rows": 60},
    ],
)
def test_workers_give_the_bits_of_one_process(engine, changes):
    config = small_config("bmc", **{"epochs": 6, **changes})
    tasks = experts_of(tensors(STREAM), config)
    assert (len(tasks) > 6) == ("expert_rows" in changes)
    expected = LocalEngine().train(base(), tasks, config)
    assert_equal(engine.train(base(), tasks, config), expected)
    assert 1 <= len(workers_of(engine)) <= 2


@pytest.mark.parametrize(
    ("sizes", "parts"),
    [
        ([90] * 16, [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9, 10, 11], [12, 13, 14, 15]]),
        ([10, 450, 10, 440, 430] + [10] * 11, [[1], [3], [4], [0, 2, 5, 6], [7, 8, 9, 10]]),
        ([90, 90], [[0], [1]]),
    ],
)
def test_large_experts_are_spread_over_the_workers_and_small_ones_stacked(engine, sizes, parts):
    task = tensors(STREAM)[0]
    features, labels = torch.zeros(500, 1), torch.zeros(500, dtype=torch.int64)
    tasks = [replace(task, train=Split(features[:n], labels[:n])) for n in sizes]
    assert engine._parts(tasks, "cpu")[: len(parts)] == parts


def test_workers_stay_over_groups_and_runs_and_change_no_byte_of_them(tmp_path, engine):
    config = small_config("bmc", epochs=6)
    engine.train(base(), tensors(STREAM), config)
    before = workers_of(engine)
    run(STREAM, "bmc", config, tmp_path / "workers", engine=engine)
    assert workers_of(engine) == before
    run(STREAM, "bmc", config, tmp_path / "one")
    assert_same_run(tmp_path / "workers", tmp_path / "one")
    timing = [json.loads((tmp_path / n / "timing.json").read_text()) for n in ("workers", "one")]
    assert [t["machine"]["workers"] for t in timing] == [2, 1]
    assert timing[0]["peak_worker_host_bytes"] > 50e6  # torch alone takes more
    assert "peak_worker_host_bytes" not in timing[1]


def assert_same_run(folder: Path, expected: Path) -> None:
    for name in ("results.json", "R_class_il.csv"):
        assert (folder / name).read_bytes() == (expected / name).read_bytes(), name
    ours, theirs = (load_file(part / "checkpoint.safetensors") for part in (folder, expected))
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


def test_a_killed_worker_costs_time_and_no_bit(engine, told):
    tasks = tensors(STREAM)
    expected = LocalEngine().train(base(), tasks, LONG)
    engine.train(base(), tasks, replace(LONG, epochs=1))
    victim = workers_of(engine)[0]

    def kill() -> None:
        began = cpu_seconds(victim)
        while cpu_seconds(victim) < began + 0.05:  # it trains
            time.sleep(0.002)
        os.kill(victim, signal.SIGKILL)

    killer = threading.Thread(target=kill)
    killer.start()
    assert_equal(engine.train(base(), tasks, LONG), expected)
    killer.join()
    assert victim not in workers_of(engine)
    assert told[-1] == "a process that trains experts was lost by signal 9; they are trained again"


def cpu_seconds(process: int) -> float:
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def test_workers_that_die_again_and_again_are_an_error_that_says_what_to_do(monkeypatch):
    engine = LocalEngine(TWO, start=0)
    stop = threading.Event()

    def kill() -> None:
        while not stop.wait(0.01):
            for worker in list(engine._crew._workers):
                worker._process.kill()

    killer = threading.Thread(target=kill)
    killer.start()
    try:
        with pytest.raises(ClusterError, match=r"lost 3 times .* signal 9.*--resume.*--workers"):
            engine.train(base(), tensors(STREAM), LONG)
    finally:
        stop.set()
        killer.join()
    assert not workers_of(engine)


def test_an_error_of_a_worker_is_raised_here_and_ends_the_workers():
    engine = LocalEngine(TWO, start=0)
    broken = [replace(task, start=10_000, stop=10_003) for task in tensors(STREAM)]
    with pytest.raises(RuntimeError, match=r"an expert failed in its process:\nTraceback"):
        engine.train(base(), broken, LONG)
    assert not workers_of(engine)
    small = small_config("bmc", epochs=1)
    expected = LocalEngine().train(base(), tensors(STREAM), small)
    assert_equal(engine.train(base(), tensors(STREAM), small), expected)
    engine.close()


def test_short_work_starts_no_workers_and_long_work_does():
    config, tasks = small_config("bmc", epochs=1), tensors(STREAM)
    engine = LocalEngine(TWO, start=1e9)
    engine.train(base(), tasks, config)
    assert not workers_of(engine)
    assert engine.workers == 2
    engine = LocalEngine(TWO)
    updates = []
    while engine._gain < engine._start:  # no group is long, many are
        updates.append(engine._pays(base(), tasks, replace(config, epochs=20)))
    assert len(updates) > 2
    assert updates == [False] * (len(updates) - 1) + [True]
    assert not engine._pays(base(), tasks[:1], config)  # there is nothing to divide
    assert not LocalEngine()._pays(base(), tasks, replace(config, epochs=10**6))


def test_expected_work_starts_workers_while_this_process_trains(monkeypatch):
    tasks, started = tensors(STREAM), threading.Event()
    start = local_worker._Worker.__init__

    def wait(worker, device: str) -> None:
        started.wait()
        start(worker, device)

    monkeypatch.setattr(local_worker._Worker, "__init__", wait)
    rows, engine = [len(task.train) for task in tasks], LocalEngine(TWO, start=1.0)
    short = small_config("bmc", epochs=1)
    engine.expect(rows, len(tasks), short)
    engine.expect(rows, 1, replace(LONG, epochs=10**4))  # one after the other
    assert engine._crew._beginning is None
    engine.expect(rows, len(tasks), replace(LONG, epochs=10**4))
    expected = LocalEngine().train(base(), tasks, short)
    assert_equal(engine.train(base(), tasks, short), expected)
    assert not engine.peaks()  # no worker has answered
    started.set()
    engine._crew._beginning.join()
    assert_equal(engine.train(base(), tasks, short), expected)
    assert engine.peaks()
    assert len(workers_of(engine)) == 2
    engine.close()


def test_a_run_tells_its_engine_which_experts_are_to_come(tmp_path):
    engine = LocalEngine()
    engine.expect = Mock()
    run(STREAM, "bmc", small_config("bmc", epochs=1, experts=2), tmp_path, engine=engine)
    rows, together, _ = engine.expect.call_args.args
    assert rows == [len(task.train) for task in STREAM.tasks]
    assert together == 2


def test_a_run_from_python_has_as_many_workers_as_are_asked_for(tmp_path, monkeypatch):
    opened = Mock(wraps=open_engine)
    monkeypatch.setattr("bmc.engines.open_engine", opened)
    bmc.run(STREAM, "ncm", out=tmp_path, device="cpu", workers=3, quiet=True)
    assert opened.call_args.kwargs["devices"] == ["cpu"] * 3


def test_an_engine_that_is_closed_while_its_workers_start_leaves_none(monkeypatch):
    made: list[int] = []
    begun, closed = threading.Event(), threading.Event()
    start = local_worker._Worker.__init__

    def wait(worker, device: str) -> None:
        begun.set()
        closed.wait()
        start(worker, device)
        made.append(worker._process.pid)

    monkeypatch.setattr(local_worker._Worker, "__init__", wait)
    engine = LocalEngine(TWO, start=0)
    engine.expect([100], 2, LONG)
    starting = engine._crew._beginning
    begun.wait()
    engine.close()
    closed.set()
    starting.join()
    assert len(made) == 1
    assert not Path(f"/proc/{made[0]}").exists()
    assert not workers_of(engine)


def test_workers_are_as_many_as_the_share_of_the_cores(monkeypatch):
    monkeypatch.setattr("bmc.engines.local_engine.usable_cores", lambda: 8)
    assert worker_devices(CPU) == ["cpu"] * 8
    assert worker_devices(CPU, threads=2) == ["cpu"] * 4
    assert worker_devices(CPU, threads=2, share=3) == ["cpu"]
    assert worker_devices(CPU, share=3) == ["cpu"] * 2
    assert worker_devices(torch.device("cuda:1")) == ["cuda:1"]
    monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
    assert worker_devices(torch.device("cuda")) == ["cuda:0", "cuda:1"]
    assert worker_devices(torch.device("cuda"), share=2) == ["cuda"]


def test_so_many_workers_as_are_asked_for_have_the_gpus_of_the_machine_in_turn(monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    gpus = torch.device("cuda")
    assert crew_devices(gpus, 1, 3) == ["cuda:0", "cuda:1", "cuda:0"]
    assert crew_devices(torch.device("cuda:1"), 1, 2) == ["cuda:1", "cuda:1"]
    assert crew_devices(gpus, 1, None) == ["cuda:0", "cuda:1"]
    assert crew_devices(CPU, 4, 2) == ["cpu", "cpu"]


def test_a_worker_makes_its_gpu_the_current_one(monkeypatch):
    chosen: list[str] = []
    monkeypatch.setattr(torch.cuda, "set_device", chosen.append)
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    for device in ("cpu", "cuda", "cuda:1"):
        ours, theirs = multiprocessing.Pipe()
        ours.close()
        local_worker._serve(device, theirs)
    assert chosen == ["cuda:1"]


@pytest.mark.parametrize(
    ("options", "threads", "workers"),
    [
        ({}, 1, 8),
        ({"jobs": 100}, 1, 4),
        ({"threads": 2, "jobs": 2}, 2, 2),
        ({"runner": "ray"}, 1, 1),
    ],
)
def test_each_run_of_a_study_has_its_share_of_the_cores(
    tmp_path, monkeypatch, options, threads, workers
):
    monkeypatch.setattr("bmc.engines.local_engine.usable_cores", lambda: 8)
    choice = StreamChoice("class-il", max_tasks=2, scale=0.0001)
    config = Config(epochs=1, memory=40)
    study = compare_study(choice, config, {}, methods="bmc", orders=[0], seeds=1)
    assert len(study.runs) == 2  # with fine-tuning
    job = next(
        job
        for job in study.jobs(StudyOptions(out=tmp_path, device="cpu", **options))
        if job.run.method == "bmc"
    )
    job.execute()
    machine = json.loads((job.folder / "timing.json").read_text())["machine"]
    assert (machine["threads"], machine["workers"]) == (threads, workers)
