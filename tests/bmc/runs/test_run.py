import json
import random
import signal
import subprocess
import time
from dataclasses import replace
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path

import numpy as np
import pytest
import torch
from small import small_config, small_stream
from warm import program

from autods.core.files import locked
from autods.core.processes import worker_context
from autods.errors import Busy, UsageError
from autods.streams.feature_set import FeatureSet
from autods.streams.stream import Stream
from bmc.methods import METHODS
from bmc.report import build_report, load_runs
from bmc.runs import identity, metrics, run
from bmc.runs.folder import CheckpointError, RunExists, RunFolder, RunMismatch
from bmc.studies.execute import PRELOADED
from bmc.train import phases


def run_in_child(method: str, folder: Path, began: Connection) -> None:
    torch.set_num_threads(1)
    stream, config = small_stream(), small_config(method, experts=2, epochs=6)
    began.send("begins")
    run.run(stream, method, config, folder, resume=True)


def tree(folder: Path) -> dict[str, bytes]:
    """All files of a run except the times, which differ on every run."""
    skip = {"timing.json", "checkpoint.safetensors"}
    return {p.name: p.read_bytes() for p in folder.iterdir() if p.name not in skip}


@pytest.fixture(scope="module")
def child():
    """Start a run in a process that a server forks, and return it with what tells its begin."""
    context = worker_context([*PRELOADED, "pytest"])

    def start(method: str, folder: Path) -> tuple[BaseProcess, Connection]:
        ours, theirs = context.Pipe()
        process = context.Process(target=run_in_child, args=(method, folder, theirs))
        process.start()
        theirs.close()
        return process, ours

    return start


def ended(process: BaseProcess) -> int | None:
    process.join(120)
    return process.exitcode


@pytest.mark.parametrize("method", ["bmc", "er"])
def test_a_run_killed_at_random_moments_ends_with_the_same_bytes(method, child, tmp_path):
    process, _ = child(method, tmp_path / "undisturbed")
    assert ended(process) == 0
    timing = json.loads((tmp_path / "undisturbed" / "timing.json").read_text())
    rng, folder = random.Random(0), tmp_path / "killed"
    process, _ = child(method, folder)
    while not (folder / "checkpoint.safetensors").exists():  # killed after its first group
        assert process.is_alive()
        time.sleep(0.002)
    process.kill()
    assert ended(process) == -signal.SIGKILL
    for _ in range(3):
        process, began = child(method, folder)
        began.recv()
        time.sleep(rng.uniform(0, timing["seconds"]["total"]))
        process.kill()  # it may have ended by itself
        ended(process)
    process, _ = child(method, folder)
    assert ended(process) == 0
    assert tree(folder) == tree(tmp_path / "undisturbed")


def test_a_resumed_run_starts_after_its_last_finished_group(tmp_path, monkeypatch):
    stream, config, learned = small_stream(), small_config("bmc", experts=2), []

    def evaluate(method, tasks):
        if len(learned) == 2:
            raise KeyboardInterrupt
        learned.append(method.seen)
        return original(method, tasks)

    original = run.evaluate
    monkeypatch.setattr(run, "evaluate", evaluate)
    with pytest.raises(KeyboardInterrupt):
        run.run(stream, "bmc", config, tmp_path)
    monkeypatch.setattr(run, "evaluate", original)
    reports = []

    class Reporter(run.Silent):
        def start(self, title: str, total: int | None, unit: str, done: int = 0) -> None:
            reports.append(done)

        def advance(self, amount: int) -> None:
            reports.append(amount)

    run.run(stream, "bmc", config, tmp_path, resume=True, report=Reporter())
    assert reports == [4, 2]


@pytest.mark.parametrize("method", ["knn", "bmc"])
def test_a_run_whose_checkpoints_take_long_writes_fewer_and_resumes_from_the_last(
    tmp_path, monkeypatch, method
):
    stream, config = small_stream(), small_config(method, experts=2)
    run.run(stream, method, config, tmp_path / "all")
    saved, save = [], RunFolder.save
    monkeypatch.setattr(run, "writing_is_due", lambda seconds: not saved)

    def counted(folder, tensors, state):
        saved.append(state.done)
        save(folder, tensors, state)
        if len(saved) == 1:
            raise KeyboardInterrupt

    monkeypatch.setattr(RunFolder, "save", counted)
    with pytest.raises(KeyboardInterrupt):
        run.run(stream, method, config, tmp_path / "few")
    run.run(stream, method, config, tmp_path / "few", resume=True)
    groups = METHODS.get(method)(stream.dim, stream.n_classes, config, "cpu").group_ends(6)
    assert saved == [groups[0], 6]
    assert len(groups) > 2
    assert tree(tmp_path / "few") == tree(tmp_path / "all")


@pytest.mark.parametrize(
    ("seconds", "due"),
    [
        ({}, True),
        ({phases.WRITE: 4.0, phases.LEARN: 1.0}, True),
        ({phases.WRITE: 6.0, phases.LEARN: 40.0}, False),
        ({phases.WRITE: 6.0, phases.LEARN: 40.0, phases.EVALUATE: 20.0}, True),
    ],
)
def test_checkpoints_take_a_tenth_of_a_run_or_a_few_seconds(seconds, due):
    assert phases.writing_is_due(seconds) is due


def test_a_run_that_is_already_there_is_not_overwritten_by_accident(tmp_path):
    run.run(small_stream(2), "slda", small_config("slda"), tmp_path)
    before = tree(tmp_path)
    with pytest.raises(RunExists, match=r"--resume"):
        run.run(small_stream(2), "slda", small_config("slda"), tmp_path)
    assert tree(tmp_path) == before


@pytest.mark.parametrize(
    ("stream", "config", "named"),
    [
        (small_stream(2), small_config("slda", seed=5), "config.seed"),
        (small_stream(2, order=1), small_config("slda"), "provenance"),
    ],
)
def test_resuming_with_other_settings_is_refused_and_names_them(tmp_path, stream, config, named):
    run.run(small_stream(2), "slda", small_config("slda"), tmp_path)
    before = tree(tmp_path)
    with pytest.raises(RunMismatch, match=named):
        run.run(stream, "slda", config, tmp_path, resume=True)
    assert tree(tmp_path) == before


def other_data() -> Stream:
    """The small stream with one number of one training sample changed."""
    stream = small_stream(2)
    first = stream.tasks[0]
    features = first.train.features.copy()
    features[0, 0] += np.float16(0.25)
    changed = replace(first, train=FeatureSet(features, first.train.labels))
    provenance = {**stream.provenance, "fingerprint": "of other shards"}
    return replace(stream, tasks=[changed, stream.tasks[1]], provenance=provenance)


@pytest.mark.parametrize("part", ["data", "torch", "bmc"])
def test_a_checkpoint_of_other_data_or_versions_is_refused_naming_both(tmp_path, monkeypatch, part):
    checkpoint = interrupted(tmp_path, monkeypatch)
    before = tree(tmp_path), checkpoint.read_bytes()
    stream, named = small_stream(2), rf"versions\.{part} \(was \".*\", now \"0\.0\"\)"
    if part == "data":
        was = stream.provenance["fingerprint"]
        stream, named = other_data(), rf'fingerprint \(was "{was[:20]}.*now "of other shards"\)'
    elif part == "torch":
        monkeypatch.setattr("torch.__version__", "0.0")
    else:
        monkeypatch.setattr(identity, "__version__", "0.0")
    with pytest.raises(RunMismatch, match=named):
        run.run(stream, "finetune", small_config("finetune"), tmp_path, resume=True)
    assert (tree(tmp_path), checkpoint.read_bytes()) == before


def test_a_finished_run_of_other_versions_is_kept(tmp_path, monkeypatch):
    run.run(small_stream(2), "slda", small_config("slda"), tmp_path)
    before = tree(tmp_path)
    monkeypatch.setattr("torch.__version__", "0.0")
    monkeypatch.setattr(identity, "__version__", "0.0")
    run.run(small_stream(2), "slda", small_config("slda"), tmp_path, resume=True)
    assert tree(tmp_path) == before


def test_files_of_a_run_that_do_not_say_which_it_is_are_refused(tmp_path, monkeypatch):
    checkpoint = interrupted(tmp_path, monkeypatch)
    (tmp_path / "config.json").unlink()
    before = checkpoint.read_bytes()
    with pytest.raises(CheckpointError, match=r"config\.json is missing"):
        run.run(small_stream(2), "finetune", small_config("finetune"), tmp_path, resume=True)
    assert checkpoint.read_bytes() == before
    assert not (tmp_path / "config.json").exists()


def test_results_hold_matrices_metrics_costs_and_provenance(tmp_path):
    run.run(small_stream(), "bmc", small_config("bmc", experts=4), tmp_path)
    results = json.loads((tmp_path / "results.json").read_text())
    assert results["learned"] == [4, 6]
    assert [len(row) for row in results["R"]["class-il"]] == [6, 6]
    assert results["R"]["class-il"][0][4:] == [None, None]
    final = results["metrics"]["class-il"]
    assert final["final_mean"] == pytest.approx(sum(results["R"]["class-il"][-1]) / 6)
    assert final["dataset_id"] * final["within_dataset"] == pytest.approx(final["final_mean"])
    cost = results["costs"]
    blocks = 128 * 128 + 4 * 128 * 256 + 256 * 256 + 2 * 2 * (128 + 256 + 256)  # two, with norms
    net = 4 * (64 * 128 + 128 + blocks)
    assert 6 * net < cost["broadcast_bytes"]  # a base model of more than its trunk, six times
    three = ("communication_bytes", "broadcast_bytes", "memory_bytes")
    assert cost["total_bytes"] == sum(cost[name] for name in three)
    assert cost["central_bytes"] == 0
    assert cost["cost_accuracy"] == pytest.approx(
        100 * final["final_mean"] / (cost["total_bytes"] / 1e6)
    )
    assert results["provenance"]["fingerprint"]
    assert (tmp_path / "R_class_il.csv").read_text().splitlines()[0].startswith("learned,aircraft")
    timing = json.loads((tmp_path / "timing.json").read_text())
    assert timing["engine"] == "local"
    assert timing["checkpoint_bytes"] == (tmp_path / "checkpoint.safetensors").stat().st_size
    phases = timing["seconds"]
    assert set(phases) == {
        "start", "load", "train", "experts", "consolidation", "memory", "evaluate", "write",
        "other", "total",
    }  # fmt: skip
    assert sum(phases.values()) == pytest.approx(2 * phases["total"])
    steps = results["records"]["expert_steps"]
    assert steps == [-(-task["train"] * 2 // 64) for task in results["tasks"]]


def test_features_that_are_not_normalised_are_not_rescaled(tmp_path):
    stream = replace(small_stream(2), normalize="none")
    run.run(stream, "slda", small_config("slda"), tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())["config"]
    assert config["feature_norm"] == 1.0


def test_a_task_without_training_or_test_samples_is_refused_before_anything_runs(tmp_path):
    stream = small_stream(2)
    for part in ("train", "test"):
        first = stream.tasks[0]
        empty = FeatureSet(first.train.features[:0], first.train.labels[:0])
        broken = replace(stream, tasks=[replace(first, **{part: empty}), stream.tasks[1]])
        with pytest.raises(UsageError, match=f"task 'aircraft' has no {part} samples"):
            run.run(broken, "slda", small_config("slda"), tmp_path / part)
        assert not (tmp_path / part).exists()


def test_tuning_measures_development_data_and_says_so(tmp_path):
    run.run(small_stream(2), "slda", small_config("slda"), tmp_path / "test")
    run.run(small_stream(2), "slda", small_config("slda", evaluate_on="dev"), tmp_path / "dev")
    values = {
        part: json.loads((tmp_path / part / "results.json").read_text()) for part in ("test", "dev")
    }
    assert values["test"]["R"] != values["dev"]["R"]
    assert values["dev"]["config"]["evaluate_on"] == "dev"


@pytest.mark.parametrize("file", ["checkpoint.safetensors", "config.json"])
def test_a_damaged_file_of_a_run_is_named_and_left(tmp_path, file):
    run.run(small_stream(2), "slda", small_config("slda"), tmp_path)
    (tmp_path / "results.json").unlink()
    damaged = (tmp_path / file).read_bytes()[:40]
    (tmp_path / file).write_bytes(damaged)
    with pytest.raises(CheckpointError, match=f"{file} is damaged"):
        run.run(small_stream(2), "slda", small_config("slda"), tmp_path, resume=True)
    assert (tmp_path / file).read_bytes() == damaged


def interrupted(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Make a run of two tasks that was stopped after its first; return its checkpoint."""
    evaluated = []

    def evaluate(method, tasks):
        if evaluated:
            raise KeyboardInterrupt
        evaluated.append(method)
        return original(method, tasks)

    original = run.evaluate
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(run, "evaluate", evaluate)
        run.run(small_stream(2), "finetune", small_config("finetune"), folder)
    return folder / "checkpoint.safetensors"


FULL_DISK = """
import resource, sys
sys.path.insert(0, {tests!r})
resource.setrlimit(resource.RLIMIT_FSIZE, (60_000, 60_000))
from autods.core.console import run_app
from pathlib import Path
from small import small_config, small_stream
from bmc.runs.run import run
config = small_config("finetune")
run_app(lambda: run(small_stream(2), "finetune", config, Path({folder!r}), resume=True))
"""


@pytest.mark.parametrize("before", ["nothing", "a checkpoint"])
def test_a_full_disk_leaves_the_checkpoint_and_the_run_resumes(tmp_path, monkeypatch, before):
    checkpoint = tmp_path / "full" / "checkpoint.safetensors"
    if before == "a checkpoint":
        interrupted(tmp_path / "full", monkeypatch)
    kept = checkpoint.read_bytes() if checkpoint.exists() else None
    code = FULL_DISK.format(tests=str(Path(__file__).parents[1]), folder=str(tmp_path / "full"))
    command = [program("python"), "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "could not be written" in done.stderr
    assert "--resume" in done.stderr
    assert "Traceback" not in done.stderr
    assert (checkpoint.read_bytes() if checkpoint.exists() else None) == kept
    assert not [*checkpoint.parent.glob("*.tmp"), *checkpoint.parent.glob("*.new")]
    run.run(small_stream(2), "finetune", small_config("finetune"), tmp_path / "full", resume=True)
    run.run(small_stream(2), "finetune", small_config("finetune"), tmp_path / "whole")
    assert tree(tmp_path / "full") == tree(tmp_path / "whole")


def test_two_processes_do_not_work_on_one_run(tmp_path):
    with locked(tmp_path / "run"), pytest.raises(Busy, match="is being written by process"):
        run.run(small_stream(2), "slda", small_config("slda"), tmp_path)


@pytest.mark.parametrize("method", ["er", "bmc", "slda"])
def test_the_phases_of_a_run_are_all_of_its_time(tmp_path, monkeypatch, method):
    class Clock:
        """A clock that stands still but for what work is said to take."""

        now = 100.0

        def takes(self, seconds, work):
            def slow(*arguments, **options):
                result = work(*arguments, **options)
                self.now += seconds
                return result

            return slow

    clock, made = Clock(), METHODS.get(method)
    monkeypatch.setattr(phases.time, "perf_counter", lambda: clock.now)
    for where, name, seconds in (
        (run, "check_samples", 0.25),
        (run, "to_tensors", 3.0),
        (made, "learn", 50.0),
        (run, "evaluate", 7.0),
        (RunFolder, "save", 0.5),
        (RunFolder, "save_samples", 2.0),
        (RunFolder, "save_matrices", 1.0),
    ):
        monkeypatch.setattr(where, name, clock.takes(seconds, getattr(where, name)))
    run.run(small_stream(3), method, small_config(method), tmp_path)
    found = json.loads((tmp_path / "timing.json").read_text())["seconds"]
    assert found["total"] == clock.now - 100.0 == sum(found.values()) - found["total"]
    times = {name: seconds for name, seconds in found.items() if seconds}
    del times["total"]
    groups = 1 if method == "bmc" else 3
    assert times == {
        "start": 0.25,
        "load": 3.0,
        "train": 50.0 * groups,
        "evaluate": 7.0 * groups,
        "write": 0.5 * groups + 3.0,
    }


@pytest.mark.parametrize("empty", [0, 1])
def test_a_task_without_development_samples_leaves_the_metrics_of_the_others(tmp_path, empty):
    stream = small_stream(3)
    tasks = list(stream.tasks)
    dev = tasks[empty].dev
    tasks[empty] = replace(tasks[empty], dev=FeatureSet(dev.features[:0], dev.labels[:0]))
    config = small_config("er", evaluate_on="dev")
    run.run(replace(stream, tasks=tasks), "er", config, tmp_path / "er")
    (loaded,) = load_runs([tmp_path / "er"])
    values = loaded.metrics["class-il"]
    assert None not in (values[name] for name in metrics.ON_GRID)
    last = [value for value in loaded.R["class-il"][-1] if value is not None]
    assert values["final_mean"] == pytest.approx(sum(last) / 2)
    assert values["worst_task"] == min(last)
    samples = loaded.samples("class-il")
    assert [len(samples[task.name]) == 0 for task in loaded.tasks] == [k == empty for k in range(3)]
    assert build_report([tmp_path / "er"], tmp_path / "report.html").exists()
