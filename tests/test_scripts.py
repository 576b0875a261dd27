"""The scripts run; what they measure is not judged here."""

import json
import math
import os
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path
from unittest import mock

import numpy as np
import pytest
import torch
from gpu.compared import Way, scores, stream
from gpu.findings import DIED, LATE, LOST, Findings, failures, unmeasured
from gpu.missing import vision_of
from gpu.whole import timed_captures
from simulated_cuda import CUDA, simulated_cuda
from warm import program

SCRIPTS = Path(__file__).resolve().parent.parent / "scripts"
RAW = SCRIPTS.parent.parent / "shared" / "data" / "raw"


def test_the_loader_benchmark_reads_the_same_samples_both_ways_and_prints_json():
    command = [program("python"), SCRIPTS / "bench/loader.py", "--samples", "300", "--json"]
    options = ["--rounds", "1", "--seconds", "0.05", "--workers", "0", "--dim", "16"]
    done = subprocess.run([*command, *options], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    printed = json.loads(done.stdout)
    assert "shards" in json.dumps(printed)
    assert "lmdb" in json.dumps(printed)


def test_the_demo_draws_the_same_images_every_time(tmp_path):
    for part in ("a", "b"):
        command = [program("python"), SCRIPTS / "demo_images.py", tmp_path / part]
        subprocess.run(command, capture_output=True, check=True)
    names = sorted(p.relative_to(tmp_path / "a") for p in (tmp_path / "a").rglob("*.png"))
    assert len(names) == 372
    for name in names:
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


def run_script(name: str, *options: str) -> str:
    done = subprocess.run(
        [program("python"), SCRIPTS / name, *options], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.skipif(not RAW.is_dir(), reason="no shared data beside the repository")
def test_the_benchmark_of_images_compares_the_same_tensors_and_prints_json():
    size = ["--datasets", "tinyimagenet", "--kinds", "zip", "folder", "--workers", "0"]
    more = ["--rounds", "1", "--seconds", "0.01", "--json"]
    (row,) = json.loads(run_script("bench/images.py", *size, *more))
    assert set(row["ratio"]) == {"zip", "folder"}
    assert row["images_per_s"]["ImageFolder"] > 0


@pytest.mark.parametrize("bench", ["run", "experts", "groups"])
def test_the_benchmark_of_the_engine_prints_json(bench):
    size = ["--classes", "142", "--tasks", "5", "--per-class", "4", "--dim", "16"]
    more = ["--rounds", "1", "--threads", "1", "--experts", "3", "--copies", "1", "2", "--json"]
    printed = json.loads(run_script("bench/training.py", bench, *size, *more))
    if bench == "run":
        sides = printed["rounds"][0]
        assert abs(sides["BMC"]["updates"] - sides["plain BMC"]["updates"]) <= 2
    elif bench == "experts":
        assert set(printed["updates_per_second"]) == {"1", "2"}
    else:
        assert [row["tasks"] for row in printed["groups"]] == [3, 5]


def test_tuning_prints_a_row_for_each_configuration(tmp_path):
    rng = np.random.default_rng(0)
    for name in ("a", "b"):
        x, y = rng.normal(size=(40, 8)).astype(np.float32), np.arange(40) % 4
        arrays = {"x_train": x, "y_train": y, "x_val": x + 1, "y_val": y}
        np.savez(tmp_path / f"{name}.npz", **arrays, class_names=[f"{name}{i}" for i in range(4)])
    encoder = ["--encoder", "drawn.numbers"]
    options = [*encoder, "--root", tmp_path / "root"]
    command = [program("autods"), "import-features", tmp_path, *options]
    subprocess.run(command, check=True, capture_output=True)
    options = ["--root", str(tmp_path / "root"), *encoder, "--datasets", "a,b", "--orders", "1"]
    printed = run_script("bench/tune_bmc.py", *options, "--try", "lam=0 experts=1")
    rows = printed.splitlines()
    assert rows[1].endswith("none") and rows[2].endswith("lam=0 experts=1")


def test_the_benchmark_of_closed_forms_measures_settings_on_folds():
    options = ["slda:shrinkage=0.1,balanced=false", "ncm", "--stream", "synthetic", "--folds", "1"]
    lines = run_script("bench/closed_forms.py", *options).splitlines()
    first, second = map(json.loads, lines)
    assert first["records"] == {"strength": 0.1}
    assert first["class_il"] > second["class_il"] > 50


def test_the_critical_path_of_stream_is_that_of_its_largest_task_or_part():
    lines = run_script(
        "bench/critical_path.py", "--groups", "71", "--rows", "0", "50000"
    ).splitlines()
    assert lines[0].startswith("71 tasks, 6,770,722 samples")
    uncut, cut = (line.split() for line in lines[2:])
    assert uncut[:5] == ["71", "uncut", "71", "71", "839,639"]
    assert cut[:2] == ["71", "50000"]
    assert int(cut[4].replace(",", "")) < 839_639 / 50


THREADS = """
import sys, threads
sys.executable = sys.argv.pop(1)  # of the runs
threads.main()
"""


@pytest.mark.parametrize(("what", "sides"), [("runs", 1), ("experts", 3)])
def test_the_benchmark_of_threads_measures_every_side_alone_and_beside_a_loop(what, sides):
    size = ["--tasks", "2", "--epochs", "1", "--method", "bmc", "--threads", "1"]
    options = [what, *size, "--busy", "0", "1", "--rounds", "1", "--json"]
    python = program("python")
    done = subprocess.run(
        [python, "-c", THREADS, python, *options], cwd=SCRIPTS / "bench", capture_output=True,
        text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    printed = json.loads(done.stdout)
    assert len(printed) == sides
    for row in printed.values():
        assert set(row) == {"0", "1"}
        assert all(seconds > 0 for one in row.values() for seconds in one.values())


def test_the_benchmark_of_the_full_size_trains_every_kind_of_method_on_the_files_it_made(tmp_path):
    size = ["--scale", "1e-4", "--dim", "8", "--groups", "1", "--experts", "2", "--updates", "2"]
    printed = json.loads(
        run_script("bench/full_size.py", str(tmp_path), *size, "--methods", "bmc uncut", "--json")
    )
    (row,) = printed["methods"]
    assert row["tasks"] == 2 and row["updates"] == 6  # two experts, one consolidation
    assert 0 < row["seconds"]["stream opened"] < row["seconds"]["first update"]
    assert row["peak_own_bytes"] > 50e6


def test_no_flipped_bit_in_any_type_of_file_changes_a_number_silently():
    table = run_script("bench/flips.py", "--flips", "2", "--seed", "7").splitlines()
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in table[2:]]
    assert len(rows) == 24 and rows[-1][:2] == ["all", "46"]
    assert all(row[-2:] == ["0", "0"] for row in rows)  # silently changed, crashed


def test_the_gpu_check_measures_updates_on_a_cpu(tmp_path):
    command = [SCRIPTS / "gpu_check.sh", tmp_path / "out", "--device", "cpu", "--tiny"]
    environment = {**os.environ, "PYTHON": str(program("python"))}
    done = subprocess.run(
        [*command, "--only", "steps"],
        env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    report = json.loads((tmp_path / "out" / "gpu_check.json").read_text())
    assert report["machine"]["device"] == "CPU"
    assert report["failures"] == []
    steps = report["parts"]["steps"].values()  # of a difference of times: of any sign here
    assert steps and all(map(math.isfinite, steps))


@pytest.mark.skipif(torch.cuda.is_available(), reason="a CUDA device is there")
def test_the_gpu_check_says_that_there_is_no_device(tmp_path):
    environment = {**os.environ, "PYTHON": str(program("python"))}
    done = subprocess.run(
        [SCRIPTS / "gpu_check.sh", tmp_path, "--only", "kernels"],
        env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert "expected a CUDA device" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("torch_version", "expected"),
    [("2.11.0+cu130", "torchvision~=0.26.0"), ("2.4.1", "torchvision~=0.19.0")],
)
def test_the_gpu_check_asks_for_the_torchvision_that_fits_torch(torch_version, expected):
    assert vision_of(torch_version) == expected
    installed = ".".join(version("torchvision").split(".")[:2])
    assert vision_of(torch.__version__) == f"torchvision~={installed}.0"


def test_the_gpu_check_keeps_what_was_measured_beside_what_failed(tmp_path):
    def divide() -> float:
        return 1 / 0

    findings = Findings(tmp_path / "part.json", 60)
    assert findings.measure("in bound", lambda: 0.5, most=1)["holds"]
    findings.measure("out of bound", lambda: 2.0, most=1)
    findings.measure("no number", lambda: float("nan"), most=1)
    findings.measure("broken", divide)
    findings.measure("late", lambda: 1, needs=100)
    written = json.loads((tmp_path / "part.json").read_text())
    first, *trace = written["broken"].splitlines()
    assert first.startswith("ERROR ZeroDivisionError at test_scripts.py:")
    assert any("in divide" in line for line in trace)
    assert written["late"] == LATE
    names = ["out of bound", "no number", "broken"]
    assert failures({"part": written}) == [f"part: {name}" for name in names]
    assert unmeasured({"part": written}) == ["part: late"]


def test_the_gpu_check_measures_nothing_twice_and_not_again_what_killed_its_process(tmp_path):
    path = tmp_path / "part.json"
    path.write_text(json.dumps({"deadly": DIED, "known": 3, "late": LATE}))
    findings = Findings(path, 60)
    assert findings.measure("deadly", lambda: 1) == DIED
    assert findings.measure("known", lambda: 4) == 3
    assert findings.measure("late", lambda: 5) == 5
    assert failures({"part": findings.values}) == ["part: deadly"]


def test_the_gpu_check_goes_on_in_a_new_process_after_a_capture_that_failed(tmp_path):
    def capture() -> float:
        raise UserWarning("an update could not be captured as a CUDA graph: out of luck")

    findings = Findings(tmp_path / "part.json", 60)
    ended = mock.patch.object(os, "_exit", side_effect=InterruptedError)
    initialised = mock.patch.object(torch.cuda, "is_initialized", lambda: True)
    with ended as leave, initialised, pytest.raises(InterruptedError):
        findings.measure("captured", capture)
    assert leave.call_args.args == (LOST,)
    assert "out of luck" in json.loads((tmp_path / "part.json").read_text())["captured"]


def test_the_gpu_check_times_each_capture():
    with simulated_cuda(), timed_captures(torch.device("cpu")) as seconds:
        scores("finetune", Way(CUDA, capture=True), stream())
    assert len(seconds) == 3  # one a task: the head grows
    assert all(s > 0 for s in seconds)


@pytest.mark.parametrize(
    ("absent", "code", "said"),
    [
        ("open_clip", 1, "missing: open_clip_torch. Parts encode and files will fail"),
        ("yaml", 2, "missing: pyyaml. Nothing was measured."),
    ],
)
def test_the_gpu_check_runs_without_packages_that_only_some_parts_need(
    tmp_path, absent, code, said
):
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "sitecustomize.py").write_text(
        f"import sys\nsys.modules[{absent!r}] = None"
    )
    done = subprocess.run(
        [SCRIPTS / "gpu_check.sh", tmp_path, "--device", "cpu", "--tiny", "--only", "encode"],
        env={**os.environ, "PYTHON": sys.executable},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == code
    assert said in done.stderr
    assert (tmp_path / "gpu_check.json").exists() == (code == 1)
    if code == 1:
        report = json.loads((tmp_path / "gpu_check.json").read_text())
        errors = [report["parts"]["encode"][f.removeprefix("encode: ")] for f in report["failures"]]
        assert errors
        assert all("ModuleNotFoundError" in e and "Traceback" in e for e in errors)
        assert report["machine"]["cores"] >= 1
        assert "images/s" in report["printed"]["encode"]


def test_the_benchmark_of_the_report_writes_a_page_and_prints_its_size():
    size = ["--methods", "2", "--orders", "2", "--tasks", "3", "--share", "0.01"]
    printed = json.loads(run_script("bench/report_page.py", *size, "--json"))
    assert printed["runs"] == 4
    assert 900_000 < printed["bytes"] < 1_500_000
