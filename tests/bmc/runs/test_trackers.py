"""Trackers follow real runs; those that are installed are read back with their own reader."""

import json
import os
import struct
import subprocess
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest
from small import small_config, small_stream
from warm import program

from autods.errors import UsageError
from bmc.runs import run as experiment
from bmc.runs.trackers import TRACKERS, Trackers, trackers_of

METHOD = "slda"


class Notes:
    """A tracker that notes what it is told, and fails at a method if asked to."""

    def __init__(self, fails_at: str = "") -> None:
        self.told: list[tuple] = []
        self.fails_at = fails_at

    def _note(self, *call: object) -> None:
        self.told.append(call)
        if call[0] == self.fails_at:
            raise ConnectionError("no way\nout")

    def begin(self, folder, identity) -> None:
        self._note("begin", folder, identity["method"])

    def scalars(self, step, values) -> None:
        self._note("scalars", step, values)

    def file(self, path) -> None:
        self._note("file", path.name)

    def end(self, status) -> None:
        self._note("end", status)


def test_a_run_is_told_from_its_beginning_over_every_evaluation_to_its_end(tmp_path):
    notes = Notes()
    experiment.run(small_stream(3), METHOD, small_config(METHOD), tmp_path, tracker=notes)
    assert notes.told[0] == ("begin", tmp_path, METHOD)
    assert notes.told[-1] == ("end", "finished")
    results = json.loads((tmp_path / "results.json").read_text())
    scalars = [call[1:] for call in notes.told if call[0] == "scalars"]
    assert [step for step, _ in scalars] == [1, 2, 3, 3, 3]
    for (_, values), row in zip(scalars[:3], results["R"]["class-il"], strict=True):
        seen = [v for v in row if v is not None]
        assert values["mean accuracy/class-il"] == pytest.approx(sum(seen) / len(seen))
    final = scalars[3][1] | scalars[4][1]
    assert final["class-il/final_mean"] == results["metrics"]["class-il"]["final_mean"]
    assert final["task-il/worst_task"] == results["metrics"]["task-il"]["worst_task"]
    files = [call[1] for call in notes.told if call[0] == "file"]
    assert files == ["R_class_il.csv", "R_dataset_id.csv", "R_task_il.csv"]


def test_a_finished_run_is_not_told_again(tmp_path):
    experiment.run(small_stream(2), METHOD, small_config(METHOD), tmp_path)
    notes = Notes()
    experiment.run(
        small_stream(2), METHOD, small_config(METHOD), tmp_path, resume=True, tracker=notes
    )
    assert notes.told == []


@pytest.mark.parametrize(
    ("error", "status"), [(OSError, "failed"), (KeyboardInterrupt, "interrupted")]
)
def test_a_run_that_does_not_finish_is_ended_as_what_it_is(tmp_path, monkeypatch, error, status):
    def evaluate(*_):
        raise error

    monkeypatch.setattr(experiment, "evaluate", evaluate)
    notes = Notes()
    with pytest.raises(error):
        experiment.run(small_stream(2), METHOD, small_config(METHOD), tmp_path, tracker=notes)
    assert notes.told[-1] == ("end", status)


@pytest.mark.parametrize("fails_at", ["begin", "scalars", "file", "end"])
def test_a_tracker_that_fails_is_told_once_and_costs_no_run_and_no_other_tracker(
    tmp_path, fails_at
):
    broken, sound, said = Notes(fails_at), Notes(), []
    trackers = Trackers({"broken": broken, "sound": sound}, said.append)
    for name in ("one", "two"):
        experiment.run(
            small_stream(2), METHOD, small_config(METHOD), tmp_path / name, tracker=trackers
        )
    assert [call[0] for call in broken.told].count(fails_at) == 1
    assert broken.told[-1][0] == fails_at
    assert [call for call in sound.told if call[0] == "end"] == [("end", "finished")] * 2
    (line,) = said
    assert "Tracker broken failed" in line
    assert "no way out" in line
    assert (tmp_path / "two" / "results.json").exists()


def test_trackers_change_no_result(tmp_path):
    experiment.run(small_stream(2), "er", small_config("er"), tmp_path / "without")
    tracker = trackers_of("tensorboard", print)
    experiment.run(small_stream(2), "er", small_config("er"), tmp_path / "with", tracker=tracker)
    for name in ("results.json", "config.json", "R_class_il.csv"):
        one, two = (tmp_path / part / name for part in ("without", "with"))
        assert one.read_bytes() == two.read_bytes()


def test_a_name_that_no_tracker_has_is_answered_with_the_nearest():
    with pytest.raises(UsageError, match="did you mean wandb"):
        trackers_of("wandbb", print)


def test_what_is_not_installed_is_told_before_anything_starts(monkeypatch):
    monkeypatch.setattr("autods.core.extras.find_spec", lambda _: None)
    for name in TRACKERS:
        with pytest.raises(UsageError) as caught:
            trackers_of(f"{name}", print)
        assert f"--tracker {name} needs the package {name}" in str(caught.value)
        assert "pip install 'autods-bmc[trackers]'" in str(caught.value)
        assert caught.value.exit_code == 2


def test_mlflow_without_a_database_needs_a_place_to_send_to(monkeypatch):
    monkeypatch.setattr("autods.core.extras.find_spec", lambda name: name == "mlflow" or None)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    with pytest.raises(UsageError, match="sqlalchemy"):
        trackers_of("mlflow", print)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    trackers_of("mlflow", print)


def read_tensorboard(folder: Path, run: Path) -> dict[str, list[tuple[int, float]]]:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(run / "tensorboard")).Reload()
    return {
        tag: [(event.step, event.value) for event in events.Scalars(tag)]
        for tag in events.Tags()["scalars"]
    }


def wandb_records(path: Path) -> Iterator[bytes]:
    """Read the records of an offline run: LevelDB's log format behind a header of 7 bytes."""
    data, at, record = path.read_bytes(), 7, b""
    while at + 7 <= len(data):
        left = 32768 - at % 32768
        if left < 7:
            at += left
            continue
        size, kind = struct.unpack_from("<HB", data, at + 4)  # after the checksum
        record += data[at + 7 : at + 7 + size]
        at += 7 + size
        if kind in (1, 4):  # whole, or the last part
            yield record
            record = b""


def read_wandb(folder: Path, run: Path) -> dict[str, list[tuple[int, float]]]:
    from wandb.proto import wandb_internal_pb2

    (path,) = run.glob("wandb/offline-run-*/run-*.wandb")
    found: dict[str, list[tuple[int, float]]] = {}
    for data in wandb_records(path):
        record = wandb_internal_pb2.Record()
        record.ParseFromString(data)
        if record.WhichOneof("record_type") == "history":
            for item in record.history.item:
                name = item.key or "/".join(item.nested_key)
                value = (record.history.step.num, json.loads(item.value_json))
                found.setdefault(name, []).append(value)
    assert list(run.glob("wandb/offline-run-*/files/R_class_il.csv"))
    return found


def read_mlflow(folder: Path, run: Path) -> dict[str, list[tuple[int, float]]]:
    from mlflow import MlflowClient

    client = MlflowClient(tracking_uri=f"sqlite:///{folder}/mlflow.db")
    key = json.loads((run / "trackers.json").read_text())["mlflow"]
    stored = client.get_run(key)
    assert stored.info.status == "FINISHED"
    assert stored.data.params["config.epochs"] == "1"
    assert "R_class_il.csv" in {file.path for file in client.list_artifacts(key)}
    return {
        name: [(m.step, m.value) for m in client.get_metric_history(key, name)]
        for name in stored.data.metrics
    }


READERS = {"tensorboard": read_tensorboard, "wandb": read_wandb, "mlflow": read_mlflow}


@pytest.mark.parametrize("name", TRACKERS)
def test_each_tracker_holds_the_run_or_the_command_says_how_to_install_it(name, tmp_path):
    command = ["run", "--scenario", "class-il", "--method", METHOD, "--max-tasks", "3"]
    options = ["--epochs", "1", "--tracker", name, "--out", "runs"]
    place = {"WANDB_MODE": "offline", "MLFLOW_TRACKING_URI": f"sqlite:///{tmp_path}/mlflow.db"}
    done = subprocess.run(
        [program("bmc-stream"), *command, *options],
        cwd=tmp_path, text=True, capture_output=True, timeout=120, check=False,
        env={**os.environ, **place},
    )  # fmt: skip
    if not all(find_spec(package) for package in TRACKERS[name].packages()):
        assert done.returncode == 2
        assert "pip install 'autods-bmc[trackers]'" in " ".join(done.stderr.split())
        assert not (tmp_path / "runs").exists()
        return
    assert done.returncode == 0, done.stderr
    assert "failed" not in done.stderr
    (results,) = tmp_path.rglob("results.json")  # no copy that a report would take for a run
    rows = json.loads(results.read_text())["R"]["class-il"]
    seen = [[v for v in row if v is not None] for row in rows]
    found = READERS[name](tmp_path, results.parent)
    expected = [(k + 1, pytest.approx(sum(v) / len(v), rel=1e-6)) for k, v in enumerate(seen)]
    assert found["mean accuracy/class-il"] == expected
    assert found["class-il/final_mean"] == [expected[-1]]
