"""Sweeps are real commands with real processes, which are killed where a test says so."""

from __future__ import annotations

import contextlib
import csv
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from typer.testing import CliRunner

from bmc.cli.app import app
from bmc.config import Config
from bmc.methods import config_for
from bmc.studies.grid import ABLATIONS, ablation_changes, grid_changes, parse_grid, plan_cells

COMMAND = [sys.executable, "-c", "from bmc.cli.app import main; main()", "sweep"]
STREAM = ["--scenario", "class-il", "--max-tasks", "4", "--scale", "0.0001", "--order", "0,1"]
SMALL = [*STREAM, "--epochs", "1", "--memory", "40"]
SMALL += ["-o", "bmc.buffer=20", "-o", "bmc.experts=2"]
LONG = [*STREAM, "--epochs", "5", "-o", "bmc.consolidation_epochs=5", "-o", "bmc.experts=1"]
GRID = ["--grid", "bmc.experts=1,2,all", "--grid", "bmc.lam=0,0.1"]


def start(*arguments: object, cwd: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [*COMMAND, *map(str, arguments)], cwd=cwd, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip


def sweep(*arguments: object, cwd: Path) -> tuple[int, str, str]:
    child = start(*arguments, cwd=cwd)
    out, told = child.communicate(timeout=240)
    return child.returncode, out, told


def results(folder: Path) -> dict[str, bytes]:
    return {p.parent.name: p.read_bytes() for p in sorted(folder.rglob("results.json"))}


def wait_for(folder: Path, pattern: str) -> Path:
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        if found := next(iter(folder.rglob(pattern)), None):
            return found
        time.sleep(0.01)
    raise TimeoutError(f"no {pattern} in {folder}")


def kill_a_worker(folder: Path) -> int:
    """Kill a process that holds a run; what the killed ones before left behind names dead ones."""
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        for holder in folder.rglob("run.holder"):
            with contextlib.suppress(OSError, IndexError):
                process = int(holder.read_text().split()[1])
                os.kill(process, signal.SIGKILL)
                return process
        time.sleep(0.01)
    raise TimeoutError(f"no process works in {folder}")


@pytest.fixture(scope="module")
def done(tmp_path_factory) -> tuple[Path, str]:
    """A finished sweep of a grid with fine-tuning, and what it printed."""
    folder = tmp_path_factory.mktemp("sweep")
    code, out, told = sweep(*SMALL, *GRID, "--with-finetune", "--jobs", 2, "--out", "o", cwd=folder)
    assert code == 0, told
    assert "runs, " in told
    return folder / "o", out


def test_a_grid_runs_its_product_for_every_order_in_folders_with_readable_names(done):
    names = list(results(done[0]))
    assert len(names) == 3 * 2 * 2 + 2
    assert "bmc-experts-4-lam-0-order-1-seed-0" in names
    assert "bmc-order-0-seed-0" in names
    assert "finetune-order-1-seed-0" in names


def test_the_table_the_csv_and_the_json_have_one_row_per_configuration(done):
    folder, printed = done
    rows = list(csv.DictReader((folder / "sweep.csv").open()))
    told = json.loads((folder / "sweep.json").read_text())
    assert len(rows) == len(told["rows"]) == 7
    assert {(row["experts"], row["lam"]) for row in rows if row["method"] == "bmc"} == {
        (e, w) for e in "124" for w in ("0", "0.1")
    }
    assert all(row["runs"] == "2" for row in rows)
    assert all(float(row["relative_time_mean"]) > 0 for row in rows)
    assert {row["front"] for row in rows} == {"True", "False"}
    lines = printed.splitlines()
    for row in rows:
        assert row["label"] in printed
    assert max(map(len, lines[:-1])) <= 100
    assert (folder / "report.html").read_text().count("Pareto front") >= 1


def test_results_do_not_depend_on_how_many_runs_there_are_at_once(done, tmp_path):
    code, _, told = sweep(*SMALL, "--grid", "bmc.experts=1,all", "--jobs", 1, "--out", "o",
                          cwd=tmp_path)  # fmt: skip
    assert code == 0, told
    alone, together = results(tmp_path / "o"), results(done[0])
    assert len(alone) == 4
    assert all(together[name] == content for name, content in alone.items())


def test_ray_tasks_give_the_same_results(done, tmp_path):
    code, _, told = sweep(*SMALL, "--grid", "bmc.lam=0", "--engine", "ray", "--jobs", 2,
                          "--out", "o", cwd=tmp_path)  # fmt: skip
    assert code == 0, told
    made, expected = results(tmp_path / "o"), results(done[0])
    assert list(made) == ["bmc-lam-0-order-0-seed-0", "bmc-lam-0-order-1-seed-0"]
    assert all(expected[name] == content for name, content in made.items())


def test_list_prints_what_would_be_run_and_runs_nothing(tmp_path, done):
    code, out, _ = sweep(*SMALL, *GRID, "--list", "--json", "--out", "o", cwd=tmp_path)
    assert code == 0
    assert len(json.loads(out)) == 12
    assert not (tmp_path / "o").exists()
    _, out, _ = sweep(*SMALL, "--grid", "bmc.lam=0,1", "--list", "--out", done[0], cwd=tmp_path)
    assert out.count("finished") == 2
    assert out.count("to do") == 2


def test_a_sweep_is_extended_with_resume_and_refused_without(tmp_path):
    first = [*SMALL, "--out", "o", "--order", "0", "--grid", "bmc.lam=0"]
    assert sweep(*first, cwd=tmp_path)[0] == 0
    kept = next((tmp_path / "o").rglob("timing.json")).read_bytes()
    code, _, told = sweep(*first, cwd=tmp_path)
    assert code == 1
    assert "Add --resume" in told
    code, _, told = sweep(*first[:-1], "bmc.lam=0,1", "--resume", "--threads", 2, cwd=tmp_path)
    assert code == 1
    assert "--threads" in told
    code, _, told = sweep(*first[:-1], "bmc.lam=0,1", "--resume", cwd=tmp_path)
    assert code == 0, told
    assert len(results(tmp_path / "o")) == 2
    assert (tmp_path / "o" / "bmc-lam-0-order-0-seed-0" / "timing.json").read_bytes() == kept


def test_a_killed_command_and_a_killed_process_end_with_the_same_bytes(tmp_path):
    command = [*LONG, "--grid", "bmc.lam=0,0.1", "--jobs", 2, "--out"]
    assert sweep(*command, "whole", cwd=tmp_path)[0] == 0

    child = start(*command, "cut", cwd=tmp_path)
    wait_for(tmp_path / "cut", "checkpoint.safetensors")
    os.kill(child.pid, signal.SIGKILL)
    child.communicate()
    assert len(results(tmp_path / "cut")) < 4

    child = start(*command, "cut", "--resume", cwd=tmp_path)
    killed = kill_a_worker(tmp_path / "cut")
    assert killed != child.pid
    _, told = child.communicate(timeout=240)
    assert child.returncode == 0, told
    assert results(tmp_path / "cut") == results(tmp_path / "whole")


def test_a_run_that_fails_is_named_and_the_others_are_finished(tmp_path):
    (tmp_path / "o").mkdir()
    (tmp_path / "o" / "bmc-lam-0-order-0-seed-0").write_text("in the way")
    command = [*SMALL, "--order", "0", "--grid", "bmc.lam=0,0.1", "--out", "o"]
    code, out, told = sweep(*command, cwd=tmp_path)
    assert code == 1
    assert "1 of 2 runs failed" in told
    assert "bmc-lam-0-order-0-seed-0: " in told
    assert "File exists" in told
    assert "Traceback" not in told
    assert list(results(tmp_path / "o")) == ["bmc-order-0-seed-0"]
    assert "BMC" in out
    (tmp_path / "o" / "bmc-lam-0-order-0-seed-0").unlink()
    assert sweep(*command, "--resume", cwd=tmp_path)[0] == 0
    assert len(results(tmp_path / "o")) == 2


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--grid", "expert=1,2"], "did you mean bmc.experts"),
        (["--grid", "bmc.experts=1,x"], "experts: expected a whole number at least 1, got x"),
        (["--grid", "bmc.lam=nan"], "bmc: lam: expected a finite number at least 0, got nan"),
        (["--grid", "bmc.lam=-1"], "lam: expected a finite number at least 0"),
        (["--grid", "lam"], "got no value"),
        (["--grid", "bmc.lam=0", "--grid", "bmc.lam=1"], "named twice"),
        (["--grid", "er.memory=1,2"], "none of the methods bmc reads it"),
        (["--ablation", "stabilty"], "did you mean stability"),
        (["--engine", "rai"], "unknown engine"),
        (["--ray-address", "auto"], "no use without --engine ray"),
        (["--method", "bmcc"], "did you mean bmc"),
        (["--jobs", "0"], "--jobs"),
    ],
)
def test_wrong_usage_is_refused_before_anything_runs(arguments, said, tmp_path):
    folder = tmp_path / "o"
    called = CliRunner().invoke(app, ["sweep", *SMALL, *arguments, "--out", str(folder)])
    assert getattr(called.exception, "exit_code", called.exit_code) == 2
    assert said in " ".join(f"{called.exception} {called.output}".split())
    assert not folder.exists()


def test_a_refusal_is_one_message_without_a_traceback(tmp_path):
    code, _, told = sweep(*SMALL, "--grid", "expert=1", cwd=tmp_path)
    assert code == 2
    assert told.startswith("error: --grid expert=1: unknown option 'expert'; did you mean bmc.")
    assert told.count("\n") == 1


def test_values_are_typed_by_the_configuration():
    assert parse_grid("bmc.lam=0,0.1") == ("bmc.lam", [0.0, 0.1])
    assert parse_grid("bmc.experts=1,all,1") == ("bmc.experts", [1, "all"])
    assert parse_grid("capture=true,false") == ("capture", [True, False])
    assert parse_grid("bmc.consolidation-epochs=5") == ("bmc.consolidation_epochs", [5])
    assert parse_grid("lr=1") == ("learning_rate", [1.0])
    assert parse_grid("evaluate_on=dev") == ("evaluate_on", ["dev"])


def test_the_ablations_are_those_of_the_paper_and_each_run_stands_once():
    cells = plan_cells(["bmc"], Config(), ablation_changes("all"), {"paper": 71})
    configs = [cell.config.flat() for cell in cells]
    assert all(configs.count(config) == 1 for config in configs)
    assert len({cell.name for cell in cells}) == len(cells)
    assert cells[0].config == config_for("bmc", Config(), {})
    weights = {(c["lam"], c["beta"]) for c in configs}
    base = cells[0].config.options
    assert {(0.0, base.beta), (base.lam, 0.0), (0.0, 0.0)} <= weights
    assert {c["experts"] for c in configs} == {1, 2, 4, 8, 16, 71}
    assert len({c["buffer"] for c in configs}) >= 4
    assert len({c["memory"] for c in configs}) >= 4
    for name in ABLATIONS:
        assert len(plan_cells(["bmc"], Config(), ablation_changes(name), {"paper": 71})) >= 2


def test_a_method_runs_once_where_only_settings_of_another_vary():
    changes = grid_changes(["bmc.experts=1,2,4", "memory=100,200"])
    cells = plan_cells(["bmc", "er"], Config(), changes, {0: 71})
    assert sum(cell.method == "bmc" for cell in cells) == 6
    assert sum(cell.method == "er" for cell in cells) == 2


def test_fine_tuning_is_added_once_for_every_order_seed_and_number_of_epochs():
    changes = grid_changes(["epochs=1,2", "seed=0,1", "bmc.lam=0,1"])
    cells = plan_cells(["bmc"], Config(), changes, {0: 5, 1: 5}, finetune=True)
    added = [cell for cell in cells if cell.method == "finetune"]
    assert len(added) == 2 * 2 * 2
    assert len({(c.order, c.config.seed, c.config.epochs) for c in added}) == 8
    there = plan_cells(["bmc", "finetune"], Config(), [{}], {0: 5}, finetune=True)
    assert [cell.method for cell in there] == ["bmc", "finetune"]


def test_groups_of_more_experts_than_tasks_are_one_group_of_all():
    cells = plan_cells(["bmc"], Config(), grid_changes(["bmc.experts=2,8,16,all"]), {0: 5})
    assert [cell.config.options.experts for cell in cells] == [2, 5]


def test_run_with_finetune_gives_every_row_its_relative_time(tmp_path):
    arguments = [*SMALL, "--order", "0", "--method", "bmc", "--with-finetune", "--json"]
    called = CliRunner().invoke(app, ["run", *arguments, "--out", str(tmp_path / "o")])
    assert called.exit_code == 0, called.output
    runs = json.loads(called.stdout)
    assert [run["method"] for run in runs] == ["bmc", "finetune"]
    assert runs[0]["costs"]["relative_time"] > 0
    assert runs[1]["costs"]["relative_time"] == 1
