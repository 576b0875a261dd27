"""Sweeps, and what all studies share: processes are real, and killed where a test says so."""

import contextlib
import csv
import json
import os
import signal
import threading
import time
from pathlib import Path

import pytest
from commands import bmc_stream, start, wait_for

STREAM = ["--scenario", "class-il", "--max-tasks", "3", "--scale", "0.0001", "--order", "0,1"]
BMC = ["-o", "bmc.buffer=20", "-o", "bmc.experts=2"]
SMALL = [*STREAM, "--epochs", "1", "--memory", "40", *BMC]
GRID = ["--grid", "bmc.experts=1,2,all", "--grid", "bmc.lam=0,0.1"]


def sweep(*arguments: object, cwd: Path) -> tuple[int, str, str]:
    return bmc_stream("sweep", *arguments, cwd=cwd)


def results(folder: Path) -> dict[str, bytes]:
    return {p.parent.name: p.read_bytes() for p in sorted(folder.rglob("results.json"))}


def labels(folder: Path) -> list[str]:
    return [name.rpartition("-")[0] for name in results(folder)]


def planned(*arguments: object, cwd: Path) -> list[str]:
    """Return the folders of the runs that a sweep would make."""
    code, out, told = sweep(*arguments, "--list", "--json", cwd=cwd)
    assert code == 0, told
    return [row["run"] for row in json.loads(out)]


@pytest.fixture(scope="module")
def done(tmp_path_factory) -> tuple[Path, str]:
    """A finished sweep of a grid with fine-tuning, and what it printed."""
    folder = tmp_path_factory.mktemp("sweep")
    code, out, told = sweep(*SMALL, *GRID, "--with-finetune", "--jobs", 2, "--out", "o", cwd=folder)
    assert code == 0, told
    assert "runs, " in told
    return folder / "o", out


def test_a_grid_runs_its_product_for_every_order_in_folders_with_readable_names(done):
    names = labels(done[0])
    assert len(names) == 3 * 2 * 2 + 2
    assert "bmc-experts-3-lam-0-order-1-seed-0" in names
    assert "bmc-order-0-seed-0" in names
    assert "finetune-order-1-seed-0" in names


def test_the_table_the_csv_and_the_json_have_one_row_per_configuration(done):
    folder, printed = done
    rows = list(csv.DictReader((folder / "sweep.csv").open()))
    told = json.loads((folder / "sweep.json").read_text())
    assert len(rows) == len(told["rows"]) == 7
    assert {(row["experts"], row["lam"]) for row in rows if row["method"] == "bmc"} == {
        (e, w) for e in "123" for w in ("0", "0.1")
    }
    assert all(row["runs"] == "2" for row in rows)
    assert all(float(row["relative_time_mean"]) > 0 for row in rows)
    assert {row["front"] for row in rows} == {"True", "False"}
    lines = printed.splitlines()
    for row in rows:
        assert row["label"] in printed
    assert max(map(len, lines[:-2])) <= 100
    assert (folder / "report.html").read_text().count("Pareto front") >= 1


def test_results_do_not_depend_on_how_many_runs_there_are_at_once(done, tmp_path):
    code, _, told = sweep(*SMALL, "--grid", "bmc.experts=1,all", "--order", 0, "--jobs", 1,
                          "--out", "o", cwd=tmp_path)  # fmt: skip
    assert code == 0, told
    alone, together = results(tmp_path / "o"), results(done[0])
    assert len(alone) == 2
    assert all(together[name] == content for name, content in alone.items())


def test_ray_tasks_give_the_same_results(done, tmp_path):
    child = start("sweep", *SMALL, "--grid", "bmc.lam=0", "--runner", "ray", "--jobs", 2,
                  "--out", "o", cwd=tmp_path)  # fmt: skip
    _, told = child.communicate(timeout=240)
    assert child.returncode == 0, told
    made, expected = results(tmp_path / "o"), results(done[0])
    assert labels(tmp_path / "o") == ["bmc-lam-0-order-0-seed-0", "bmc-lam-0-order-1-seed-0"]
    assert all(expected[name] == content for name, content in made.items())


def test_list_prints_what_would_be_run_and_runs_nothing(tmp_path, done):
    assert len(planned(*SMALL, *GRID, "--out", "o", cwd=tmp_path)) == 12
    assert not (tmp_path / "o").exists()
    _, out, _ = sweep(*SMALL, "--grid", "bmc.lam=0,1", "--list", "--out", done[0], cwd=tmp_path)
    assert out.count("finished") == 2
    assert out.count("to do") == 2


def test_a_sweep_is_extended_with_resume_and_refused_without(tmp_path):
    first = [*SMALL, "--order", "0", "--grid", "bmc.lam=0"]  # in its default folder
    assert sweep(*first, cwd=tmp_path)[0] == 0
    folder = tmp_path / "runs" / "synthetic-class-il-sweep"
    kept = next(folder.rglob("timing.json"))
    before = kept.read_bytes()
    code, _, told = sweep(*first, cwd=tmp_path)
    assert code == 1
    assert "Add --resume" in told
    code, _, told = sweep(*first[:-1], "bmc.lam=0,1", "--resume", cwd=tmp_path)
    assert code == 0, told
    assert len(results(folder)) == 2
    assert kept.read_bytes() == before


def test_runs_of_other_threads_or_settings_have_folders_of_their_own(tmp_path, done):
    first = [*SMALL, "--grid", "bmc.lam=0", "--out", done[0]]
    runs = [
        planned(*first, *more, cwd=tmp_path)
        for more in ([], ["--threads", 2], ["--learning-rate", 1])
    ]
    assert len({name for names in runs for name in names}) == 6
    assert set(runs[0]) <= set(results(done[0]))


def kill_a_worker(folder: Path) -> None:
    """Kill a process that holds a run; what killed ones left behind names dead ones."""
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        for holder in folder.rglob("run.holder"):
            with contextlib.suppress(OSError, IndexError):
                os.kill(int(holder.read_text().split()[1]), signal.SIGKILL)
                return
        time.sleep(0.01)
    raise TimeoutError(f"no process works in {folder}")


TIMES = ("learning_seconds", "total_seconds", "relative_time", "peak_host_bytes")


def untimed(folder: Path) -> list[dict]:
    rows = json.loads((folder / "compare.json").read_text())["rows"]
    return [{k: v for k, v in row.items() if not k.startswith(TIMES)} for row in rows]


def test_a_killed_command_and_a_killed_process_end_with_the_same_bytes(tmp_path):
    asked = ["compare", *STREAM, "--order", 0, "--epochs", 5, "--method", "bmc", "--jobs", 2,
             "-o", "bmc.consolidation_epochs=5", "-o", "bmc.experts=1", "--out"]  # fmt: skip
    assert bmc_stream(*asked, "whole", cwd=tmp_path)[0] == 0

    child = start(*asked, "cut", cwd=tmp_path)
    wait_for(tmp_path / "cut", "checkpoint.safetensors")
    os.kill(child.pid, signal.SIGKILL)
    child.communicate()
    assert len(results(tmp_path / "cut")) < 2
    assert not (tmp_path / "cut" / "compare.json").exists()

    killer = threading.Thread(target=kill_a_worker, args=(tmp_path / "cut",))
    killer.start()
    code, _, told = bmc_stream(*asked, "cut", "--resume", cwd=tmp_path)
    killer.join()
    assert code == 0, told
    assert results(tmp_path / "cut") == results(tmp_path / "whole")
    assert untimed(tmp_path / "cut") == untimed(tmp_path / "whole")


def test_a_run_that_fails_is_named_and_the_others_are_finished(tmp_path):
    asked = [*SMALL, "--order", "0", "--grid", "bmc.lam=0,0.1", "--out", "o"]
    failing, other = planned(*asked, cwd=tmp_path)
    (tmp_path / "o").mkdir()
    (tmp_path / "o" / failing).write_text("in the way")
    code, out, told = sweep(*asked, cwd=tmp_path)
    assert code == 1
    assert "1 of 2 runs failed" in told
    assert f"{failing}: " in told
    assert "File exists" in told
    assert "Traceback" not in told
    assert list(results(tmp_path / "o")) == [other]
    runs = json.loads((tmp_path / "o" / "sweep.json").read_text())["runs"]
    assert [bool(run["failed"]) for run in runs] == [True, False]
    assert "BMC" in out
    (tmp_path / "o" / failing).unlink()
    assert sweep(*asked, "--resume", cwd=tmp_path)[0] == 0
    assert len(results(tmp_path / "o")) == 2


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--grid", "bmc.expert=1,2"], "did you mean experts"),
        (["--grid", "bmc.lam=0", "--grid", "bmc.lam=1"], "named twice"),
        (["--method", "er", "--grid", "bmc.experts=1,2"], "none of er reads bmc.experts"),
        (["--ablation", "stabilty"], "did you mean stability"),
        (["--runner", "rai"], "unknown runner"),
        (["--ray-address", "auto"], "--ray-address needs --runner ray"),
        (["--method", "bmcc"], "did you mean bmc"),
        (["--order", "x"], "--order: expected 'paper' or seeds"),
        (["--jobs", "0"], "--jobs"),
    ],
)
def test_wrong_usage_is_refused_before_anything_runs(arguments, said, tmp_path):
    base = SMALL if "er" not in arguments else SMALL[: -len(BMC)]
    code, _, told = sweep(*base, *arguments, "--out", "o", cwd=tmp_path)
    assert code == 2
    assert said in " ".join(told.split())
    assert not (tmp_path / "o").exists()


def test_a_refusal_is_one_message_without_a_traceback(tmp_path):
    child = start("sweep", *SMALL, "--grid", "expert=1", cwd=tmp_path)
    _, told = child.communicate(timeout=240)
    assert child.returncode == 2
    assert told.startswith("error: unknown field 'expert'")
    assert told.count("\n") == 1


def test_run_with_finetune_gives_every_row_its_relative_time(tmp_path):
    asked = ["run", *SMALL, "--order", "0", "--method", "bmc", "--with-finetune", "--json"]
    code, out, told = bmc_stream(*asked, "--out", "o", cwd=tmp_path)
    assert code == 0, told
    runs = json.loads(out)
    assert [run["method"] for run in runs] == ["bmc", "finetune"]
    assert runs[0]["costs"]["relative_time"] > 0
    assert runs[1]["costs"]["relative_time"] == 1
