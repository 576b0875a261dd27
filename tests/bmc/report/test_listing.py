import json
import shutil

import pytest
from commands import bmc_stream
from small import small_config, small_stream

from autods.core.files import read_json, write_json
from bmc.report.listing import differing, list_runs
from bmc.runs.run import run


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Two finished runs that differ in the memory, one that has begun, and one that is damaged."""
    folder = tmp_path_factory.mktemp("listing")
    for memory in (50, 60):
        config = small_config("gdumb", memory=memory)
        run(small_stream(2), "gdumb", config, folder / "a" / f"gdumb-{memory}")
    run(small_stream(2), "ncm", small_config("ncm"), folder / "b" / "ncm")
    (folder / "b" / "ncm" / "results.json").unlink()
    (folder / "broken").mkdir()
    (folder / "broken" / "config.json").write_text("[")
    return folder


def test_runs_are_listed_with_state_accuracy_and_the_settings_that_differ(folder):
    first, second, begun, damaged = list_runs(folder)
    results = json.loads((folder / "a" / "gdumb-50" / "results.json").read_text())
    assert first.accuracy == results["metrics"]["class-il"]["final_mean"]
    assert [run.state for run in (first, second, begun, damaged)] == [
        "finished", "finished", "begun", "damaged",
    ]  # fmt: skip
    assert differing([first, second]) == ["memory"]
    assert differing([first, begun]) == ["memory"]
    assert (begun.accuracy, damaged.accuracy, damaged.settings) == (None, None, {})


def test_an_upgrade_is_a_setting_that_differs(folder, monkeypatch, tmp_path):
    run(small_stream(2), "ncm", small_config("ncm"), tmp_path / "old")
    monkeypatch.setattr("torch.__version__", "99.0")
    run(small_stream(2), "ncm", small_config("ncm"), tmp_path / "new")
    assert differing(list_runs(tmp_path)) == ["torch"]


def test_the_command_prints_a_table_of_80_columns_and_json(folder, monkeypatch, tmp_path):
    monkeypatch.setenv("COLUMNS", "80")
    code, out, _ = bmc_stream("runs", folder, cwd=tmp_path)
    assert code == 0
    assert "broken: config.json is not what this program wrote" in out
    lines = out.splitlines()
    assert lines[0] == f"{folder / 'a'}: 2 runs"
    assert lines[1].split() == ["run", "accuracy", "%", "memory", "date"]
    assert [line.split()[2] for line in lines[2:4]] == ["50", "60"]
    assert "begun" in out
    assert "damaged" in out
    assert max(len(line) for line in lines if not line.startswith("/")) <= 80
    code, out, _ = bmc_stream("runs", folder, "--json", cwd=tmp_path)
    rows = json.loads(out)
    assert [row["settings"].get("memory") for row in rows] == [50, 60, 60, None]
    assert [bool(row["problem"]) for row in rows] == [False, False, False, True]
    assert rows[0]["run"] == "a/gdumb-50"
    assert rows[0]["date"].startswith("20")


def test_a_folder_without_runs_says_how_to_start_one(tmp_path):
    code, _, told = bmc_stream("runs", tmp_path, cwd=tmp_path)
    assert code == 2
    assert "no runs below" in told and "name their folder" in told and "bmc-stream run" in told


DAMAGED = {  # by the file that is damaged: what is left of the run, and what is said
    "everything": (None, "it is empty: no run was begun, or its files are gone. Remove it."),
    "config.json": ("", "config.json is missing, so nothing says which run this is. Move "),
    "results.json": ("{", "expected a JSON object in "),
    "timing.json": ("[1]", "it holds a list"),
    "samples.safetensors": ("x", "expected the samples of a finished run in "),
    "R_class_il.csv": ("x", "its content is not what was written"),
    "checkpoint.safetensors": ("x", "checkpoint.safetensors is not what this program wrote. Move"),
    "diverged.json": ("x", "diverged.json is damaged: it is not what this program wrote."),
}


@pytest.mark.parametrize("file", DAMAGED)
def test_a_damaged_run_is_a_line_with_the_cause_and_the_cure_among_the_others(
    file, folder, tmp_path
):
    content, said = DAMAGED[file]
    shutil.copytree(folder / "a", tmp_path / "a")
    run = tmp_path / "a" / "gdumb-60"
    if content is None:
        shutil.rmtree(run)
        run.mkdir()
    elif not content:
        (run / file).unlink()
    else:
        (run / file).write_text(content)
        if file in ("checkpoint.safetensors", "diverged.json"):
            (run / "results.json").unlink()
    kept, damaged = list_runs(tmp_path)
    assert (kept.state, kept.problem, damaged.state) == ("finished", "", "damaged")
    assert said in damaged.problem
    assert "Move" in damaged.problem or "Remove" in damaged.problem or "Delete" in damaged.problem


def test_a_run_of_another_version_says_which_format_it_has(folder, tmp_path):
    shutil.copytree(folder / "a", tmp_path / "a")
    results = tmp_path / "a" / "gdumb-60" / "results.json"
    write_json(results, {**read_json(results), "format": 1})
    assert (
        "field format: expected 2, got 1; nothing of it was used" in list_runs(tmp_path)[1].problem
    )


def test_a_report_leaves_out_a_damaged_run_names_it_and_fails(folder, tmp_path):
    shutil.copytree(folder / "a", tmp_path / "a")
    (tmp_path / "a" / "gdumb-60" / "results.json").write_text("{")
    code, out, told = bmc_stream("report", tmp_path / "a", "--out", "r.html", cwd=tmp_path)
    assert code == 1
    assert "GDumb" in out and (tmp_path / "r.html").exists()
    assert "Left out, gdumb-60: expected a JSON object in " in told
    assert told.endswith("error: 1 of 2 finished runs cannot be read and are left out: gdumb-60.\n")
