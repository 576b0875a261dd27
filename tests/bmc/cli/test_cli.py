import json
import os
import signal
import subprocess
import time
from pathlib import Path

import pytest
from warm import program

from autods.core.devices import choose_device
from autods.errors import UsageError

SMALL = ["--max-tasks", "3", "--epochs", "1", "--memory", "40"]
BMC = ["-o", "bmc.buffer=20", "-o", "bmc.experts=2"]


def bmc_stream(*arguments: object, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [program("bmc-stream"), *map(str, arguments)],
        cwd=cwd,
        text=True,
        capture_output=True,
        timeout=120,
        env={**os.environ, "AUTODS_ROOT": str(cwd / "root")},
        check=False,
    )


def test_run_prints_a_table_and_writes_a_report_and_resumes_without_repeating(tmp_path):
    command = ["run", "--scenario", "class-il", "--method", "bmc,er,slda", *SMALL, *BMC]
    done = bmc_stream(*command, "--order", "0,1", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "Deep SLDA" in done.stdout
    report = Path(done.stdout.split("Report: ")[1].strip())
    assert report.read_text().startswith("<!doctype html>")
    folders = sorted(p.parent.name.rpartition("-")[0] for p in tmp_path.rglob("results.json"))
    assert folders == [f"{m}-order-{o}-seed-0" for m in ("bmc", "er", "slda") for o in (0, 1)]

    again = bmc_stream(*command, "--order", "0,1", cwd=tmp_path)
    assert again.returncode == 1
    assert "--resume" in again.stderr
    resumed = bmc_stream(*command, "--order", "0,1", "--resume", "--json", cwd=tmp_path)
    assert resumed.returncode == 0
    runs = json.loads(resumed.stdout)
    assert len(runs) == 6
    assert runs[0]["R"]["class-il"]

    listed = bmc_stream("runs", cwd=tmp_path)
    assert listed.stdout.startswith("runs/synthetic-class-il: 6 runs\n")
    reported = bmc_stream("report", "runs", "--out", "again.html", cwd=tmp_path)
    assert reported.returncode == 0
    assert (tmp_path / "again.html").read_bytes() == report.read_bytes()


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (
            ["runs"],
            "no runs below runs. If they are elsewhere, name their folder: `bmc-stream runs",
        ),
        (["runs", "my runs"], "no runs below my runs. If they are elsewhere"),
        (["report", "my runs"], "my runs: expected a folder with finished runs, but there is none"),
        (["report", "empty"], "no finished run in empty; expected results.json in it"),
    ],
)
def test_a_folder_without_runs_is_named_with_the_next_step(tmp_path, arguments, told):
    (tmp_path / "empty").mkdir()
    done = bmc_stream(*arguments, cwd=tmp_path)
    assert done.returncode == 2
    assert told in done.stderr


def test_task_il_is_the_headline_when_asked_for(tmp_path):
    done = bmc_stream(
        "run", "--scenario", "task-il", "--method", "slda", *SMALL, "--json", cwd=tmp_path
    )
    assert json.loads(done.stdout)[0]["scenario"] == "task-il"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--method", "bmcc"], "unknown method 'bmcc'; did you mean bmc"),
        (["--stream", "syntetic"], "did you mean synthetic"),
        (["--scenario", "class-li"], "did you mean class-il"),
        (["--stream", "flowers", "--encoder", "ViT-B-32.openai"], "autods extract flowers"),
        (["--stream", "flowers"], "expected the name of an encoder"),
        (["--order", "seed"], "--order: expected 'paper' or seeds"),
        (["--device", "gpu"], "--device: expected auto"),
        (["--max-tasks", "0"], "--max-tasks"),
        (["--order", "²"], "--order: expected 'paper' or seeds"),
        (["--device", "meta"], "--device: expected auto"),
        (["--protocol", "clena"], "did you mean clean"),
        (["--classes-per-task", "3"], "has no use for classes_per_task"),
        (["--stream", "flowers", "--scale", "0.1"], "has no use for scale"),
        (["--method", ","], "--method: expected names"),
        (["--batch-size", "0"], "batch_size"),
        (["--dropout", "1.5"], "dropout"),
        (["--learning-rate", "-1"], "learning_rate"),
        (["-o", "bmc.lam=inf"], "bmc: lam: expected a finite number at least 0, got inf"),
        (["-o", "bmc.expert=2"], "unknown option of bmc 'expert'; did you mean experts"),
        (["-o", "bmcc.lam=1"], "unknown method 'bmcc'; did you mean bmc"),
        (["-o", "lam=1"], "expected METHOD.OPTION=VALUE"),
        (["-o", "er.memory=5"], "expected a method that is run, one of bmc"),
        (["--method", "ncm", "-o", "ncm.epochs=5"], "unknown option of ncm 'epochs'"),
    ],
)
def test_wrong_usage_gets_one_message_and_exit_code_2_or_1(tmp_path, arguments, message):
    done = bmc_stream("run", "--scenario", "class-il", *SMALL, *arguments, cwd=tmp_path)
    assert done.returncode in (1, 2)
    assert message in " ".join(done.stderr.split())
    assert "Traceback" not in done.stderr
    assert not list(tmp_path.rglob("results.json"))


def test_methods_lists_every_method_with_its_sentence(tmp_path):
    done = bmc_stream("methods", cwd=tmp_path)
    assert done.returncode == 0
    for name in ("bmc", "er", "finetune", "joint", "slda"):
        assert name in done.stdout


def test_ctrl_c_says_what_is_kept_and_resume_goes_on(tmp_path):
    run = [
        program("bmc-stream"),
        "run",
        "--scenario",
        "class-il",
        "--method",
        "finetune",
        "--out",
        "out",
    ]
    child = subprocess.Popen(run, cwd=tmp_path, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 60
    while not list(tmp_path.rglob("checkpoint.safetensors")) and time.monotonic() < deadline:
        time.sleep(0.05)
    child.send_signal(signal.SIGINT)
    _, told = child.communicate(timeout=60)
    assert child.returncode == 130
    assert "interrupted; finished work is kept" in told
    assert "Traceback" not in told


def test_tensorboard_events_are_written_when_asked_for(tmp_path):
    done = bmc_stream(
        "run",
        "--scenario",
        "class-il",
        "--method",
        "slda",
        *SMALL,
        "--tracker",
        "tensorboard",
        cwd=tmp_path,
    )
    assert done.returncode == 0
    assert list(tmp_path.rglob("events.out.tfevents*"))


def test_a_cuda_device_that_the_machine_has_not_is_refused_and_those_it_has_are_named(monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
    monkeypatch.setattr("torch.empty", lambda *_, **__: None)
    assert [choose_device(name).index for name in ("cuda", "cuda:0", "cuda:1")] == [None, 0, 1]
    with pytest.raises(UsageError, match=r"device 'cuda:2' cannot be used: .*cuda:0 to cuda:1"):
        choose_device("cuda:2")
