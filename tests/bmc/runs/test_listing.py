import json

import pytest
from commands import bmc_stream
from small import small_config, small_stream

from bmc.runs.listing import differing, list_runs
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
    assert rows[0]["run"] == "a/gdumb-50"
    assert rows[0]["date"].startswith("20")


def test_a_folder_without_runs_says_how_to_start_one(tmp_path):
    code, _, told = bmc_stream("runs", tmp_path, cwd=tmp_path)
    assert code == 2
    assert "no runs below" in told and "name their folder" in told and "bmc-stream run" in told
