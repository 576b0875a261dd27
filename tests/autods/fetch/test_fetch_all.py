"""The command line of fetching many datasets: table, JSON, plan, interruption, exit codes."""

import json
import resource
import signal
import subprocess
import sys
from pathlib import Path
from time import monotonic
from typing import Any

import pytest
from many_tools import autods, begin, content, described, published, until, write_manifests

from autods.cli.fetch import fetch
from autods.core.files import read_json
from autods.core.root import DataRoot
from autods.fetch.report import Report
from autods.manifest.schema import Manifest

STEP = "Look for the file on the homepage"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "manifests"


def options(root: DataRoot, folder: Path) -> list[object]:
    return ["--root", root.path, "--manifests", folder]


def recorded(root: DataRoot) -> dict[str, str]:
    """Return the state of each dataset as the record of a fetch has it so far."""
    path = root.fetch_record()
    rows = json.loads(path.read_text())["datasets"] if path.exists() else {}
    return {name: row["state"] for name, row in rows.items()}


def tree(root: DataRoot) -> dict[str, bytes]:
    """Return the archives and records of datasets; lock files are not content."""
    found = {path.relative_to(root.path): path for path in root.path.glob("datasets/**/*")}
    files = {name.as_posix(): path for name, path in found.items() if path.is_file()}
    return {n: path.read_bytes() for n, path in files.items() if not n.endswith(".lock")}


def test_the_table_fits_80_columns_and_tells_each_next_step_once(host, root, folder):
    values = published(host, "fine", "a-dataset-with-a-long-name", "gone1", "gone2", "corrupt")
    for name in ("gone1", "gone2"):
        del host.files[f"{name}/a.bin"]
    host.files["corrupt/a.bin"] = b"\xff" * 50
    write_manifests(folder, values)
    done = autods("fetch", *values, *options(root, folder))
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    lines = done.stdout.splitlines()
    assert max(map(len, lines[1:])) <= 80
    cells = {line.split()[0]: line.split()[1:] for line in lines[2:7]}
    assert cells == {
        "fine": ["done", "1", "of", "1", "100,000"],
        "a-dataset-with-a-long-name": ["done", "1", "of", "1", "100,000"],
        "gone1": ["gone", "0", "of", "1", "0", "(1)"],
        "gone2": ["gone", "0", "of", "1", "0", "(1)"],
        "corrupt": ["corrupt", "0", "of", "1", "0", "(2)"],
    }
    assert done.stdout.count(STEP) == 1
    assert lines[7].startswith(f"(1) gone1, gone2: {STEP}")
    assert any(line.startswith("(2) corrupt: ") for line in lines)
    assert "'autods import NAME FILE'" in done.stdout
    assert lines[-1] == "2 of 5 datasets are here, 3 are not; run the same command again to go on."
    said = done.stderr.splitlines()
    others = [line for line in said if line.partition(":")[0] not in values]
    assert [line.split(" --root")[0] for line in others] == [
        "Next: autods extract fine a-dataset-with-a-long-name"
    ]
    assert "gone1: gone (" in done.stderr
    assert f"gone1:   {host.url('gone1/a.bin')}: 404 Not Found: the file is gone" in said


def test_the_same_command_again_goes_on_and_ends_with_0(host, root, folder):
    values = published(host, "a", "b")
    body = host.files.pop("b/a.bin")
    write_manifests(folder, values)
    assert autods("fetch", "a", "b", *options(root, folder)).returncode == 1
    host.files["b/a.bin"] = body
    done = autods("fetch", "a", "b", *options(root, folder))
    assert done.returncode == 0
    assert done.stdout.splitlines()[-1] == "All 2 datasets are here."
    assert host.begun() == ["a/a.bin", "b/a.bin"]


def test_json_is_the_record_and_nothing_else(host, root, folder):
    values = published(host, "a", "b")
    del host.files["b/a.bin"]
    write_manifests(folder, values)
    done = autods("fetch", "b", "a", "b", "--json", *options(root, folder))
    printed = json.loads(done.stdout)
    assert printed == read_json(root.fetch_record())
    assert list(printed["datasets"]) == ["b", "a"]
    assert (printed["asked"], printed["here"], printed["missing"]) == (2, 1, ["b"])
    assert done.returncode == 1


def test_one_dataset_is_told_in_plain_lines_and_its_failure_in_one_message(host, root, folder):
    values = published(host, "a", "b")
    del host.files["b/a.bin"]
    write_manifests(folder, values)
    done = autods("fetch", "a", *options(root, folder))
    assert (done.returncode, done.stdout) == (0, "")
    assert done.stderr.splitlines()[0] == "fetching a/a.bin"
    done = autods("fetch", "b", *options(root, folder))
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.count("error: b/a.bin: expected sha256:") == 1
    assert done.stderr.count(STEP) == 1
    assert done.stderr.count("404 Not Found") == 1
    root.record("a").write_text("[]")
    done = autods("fetch", "a", *options(root, folder))
    assert done.stderr.splitlines()[1:] == [
        "Move it away and run 'autods fetch a': the archives are checked and recorded again."
    ]


def test_a_dry_run_touches_neither_the_network_nor_the_disk(host, root, folder):
    gate = {"url": "https://example.org/terms", "text": "Research only."}
    values = published(host, "known", licence="CC-BY-4.0")
    values |= published(host, "unknown", acceptance=gate)
    values["known"]["files"][0]["size"] = 100_000
    write_manifests(folder, values)
    done = autods("fetch", "known", "unknown", "--dry-run", *options(root, folder))
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[2].split() == ["known", "1", "100.0", "kB", "127.0.0.1", "CC-BY-4.0"]
    assert lines[3].split() == ["unknown", "1", "?", "127.0.0.1", "accept", "?"]
    assert "Here: 0 bytes. Still to come: 100.0 kB, and 1 file of unknown size." in lines
    assert "Licence of unknown: read https://example.org/terms" in lines[-1]
    assert max(map(len, lines[:4])) <= 80
    assert host.log == []
    assert not root.path.exists()


def test_a_dry_run_in_json_tells_what_is_here_and_what_remains(host, root, folder):
    values = published(host, "here", "part", "unknown")
    values["part"]["files"][0]["size"] = 100_000
    write_manifests(folder, values)
    autods("fetch", "here", *options(root, folder))
    part = root.archive("part", "a.bin.part")
    part.parent.mkdir(parents=True)
    part.write_bytes(content("part")[:30_000])
    before, host.log = tree(root), []
    done = autods("fetch", *values, "--dry-run", "--json", *options(root, folder))
    plan = json.loads(done.stdout)
    found = {each["dataset"]: each for each in plan["datasets"]}
    numbers = {n: (each["size"], each["here"], each["remaining"]) for n, each in found.items()}
    assert numbers == {
        "here": (100_000, 100_000, 0),
        "part": (100_000, 30_000, 70_000),
        "unknown": (None, 0, None),
    }
    assert (found["here"]["hosts"], found["part"]["hosts"]) == ([], ["127.0.0.1"])
    assert (plan["remaining"], plan["unknown"]) == (70_000, ["unknown"])
    assert plan["free"] > 0
    assert (tree(root), host.log) == (before, [])


@pytest.mark.parametrize(
    ("options", "rounds"),
    [
        ({"everything": True}, 3),
        ({"names": ["emnist"]}, 1),
        ({"names": ["emnist"], "rounds": 2}, 2),
    ],
)
def test_everything_gets_three_rounds_and_what_is_named_one(root, monkeypatch, options, rounds):
    def not_fetched(manifests: list[Manifest], root: DataRoot, *_: Any, **others: Any) -> Report:
        seen.append(others["pauses"])
        return Report(root, [])

    seen: list[tuple[float, ...]] = []
    monkeypatch.setattr("autods.fetch.many.fetch_many", not_fetched)
    fetch(**options, root=root.path, json=True)
    assert seen == [(600.0, 3600.0)[: rounds - 1]]


def test_the_plan_of_everything_has_a_row_for_each_shipped_dataset(root):
    listed = json.loads(autods("list", "--json", "--root", root.path).stdout)
    done = autods("fetch", "--all", "--dry-run", "--json", "--root", root.path)
    plan = json.loads(done.stdout)
    assert [each["dataset"] for each in plan["datasets"]] == [row["name"] for row in listed]
    assert plan["problems"] == {}
    assert set(plan["tokens"]) <= {"kaggle", "huggingface"}
    assert not root.path.exists()


def test_ctrl_c_ends_it_at_once_and_the_same_command_goes_on(host, root, folder):
    values = published(host, "quick", "slow1", "slow2")
    host.held = {"slow1/a.bin", "slow2/a.bin"}
    command = ["fetch", *values, *options(root, folder)]
    write_manifests(folder, values)
    child = begin(*command, "--jobs", 3, "--per-host", 3)
    parts = [root.archive(name, "a.bin.part") for name in ("slow1", "slow2")]
    until(lambda: all(p.exists() and p.stat().st_size == 50_000 for p in parts))
    until(lambda: recorded(root).get("quick") == "done")
    began = monotonic()
    child.send_signal(signal.SIGINT)
    _, said = child.communicate(timeout=60)
    assert monotonic() - began < 20
    assert child.returncode == 130
    assert "interrupted; finished work is kept" in said
    assert "Traceback" not in said
    assert json.loads(root.fetch_record().read_text())["ended"] is None
    assert recorded(root) == {"quick": "done", "slow1": "waiting", "slow2": "waiting"}
    host.release()
    until(lambda: len(host.ended()) == 3)
    host.log = []
    assert autods(*command).returncode == 0
    assert sorted(host.log)[:2] == [
        ("begin", "slow1/a.bin", 50_000),
        ("begin", "slow2/a.bin", 50_000),
    ]
    assert root.archive("slow1", "a.bin").read_bytes() == content("slow1")


def test_killed_midway_the_same_command_ends_with_the_same_bytes(host, root, folder, tmp_path):
    values = published(host, "a", "b", "c", "d")
    write_manifests(folder, values)
    undisturbed = DataRoot(tmp_path / "undisturbed")
    assert autods("fetch", *values, *options(undisturbed, folder)).returncode == 0
    host.held = {"b/a.bin", "d/a.bin"}
    child = begin("fetch", *values, *options(root, folder), "--per-host", 4)
    parts = [root.archive(name, "a.bin.part") for name in ("b", "d")]
    until(lambda: all(p.exists() and p.stat().st_size == 50_000 for p in parts))
    child.kill()
    child.communicate()
    host.release()
    done = autods("fetch", *values, *options(root, folder))
    assert done.returncode == 0, done.stderr
    assert tree(root) == tree(undisturbed)


def test_a_disk_that_is_full_fails_what_does_not_fit_and_loses_nothing(host, root, folder):
    host.files = {"big/a.bin": content("big", 400_000)}
    values = published(host, "small", "big", "tiny")
    write_manifests(folder, values)
    command = ["fetch", *values, "--json", *options(root, folder)]

    def little_room() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000))

    done = autods(*command, preexec_fn=little_room)
    record = json.loads(done.stdout)["datasets"]
    states = {name: row["state"] for name, row in record.items()}
    assert states == {"small": "done", "big": "disk full", "tiny": "done"}
    assert "'ulimit -f' shows it" in record["big"]["next_step"]
    assert record["big"]["fetched"] == record["big"]["files"][0]["arrived"] == 200_000
    assert done.returncode == 1
    host.log = []
    assert autods(*command).returncode == 0
    assert host.log[0] == ("begin", "big/a.bin", 200_000)
    assert root.archive("big", "a.bin").read_bytes() == content("big", 400_000)


def test_a_wrong_manifest_among_several_is_reported_and_the_others_are_fetched(host, root, folder):
    values: dict[str, dict[str, Any]] = published(host, "fine", "wrong")
    values["wrong"]["colour"] = "red"
    write_manifests(folder, values)
    for more in ([], ["--dry-run"]):
        done = autods("fetch", "fine", "wrong", *more, *options(root, folder))
        assert done.returncode == 1
        assert "colour: unknown key" in done.stdout + done.stderr
        assert "Traceback" not in done.stderr
    assert root.archive("fine", "a.bin").exists()


def test_accepting_a_licence_on_the_command_line_opens_its_gate(host, root, folder):
    gate = {"url": "https://example.org/terms", "text": "Research only."}
    write_manifests(folder, published(host, "a", acceptance=gate))
    done = autods("fetch", "a", *options(root, folder))
    assert done.returncode == 1
    assert "https://example.org/terms" in done.stderr
    assert "--accept-licence a" in done.stderr
    assert host.log == []
    done = autods("fetch", "a", "--accept-licence", "a", *options(root, folder))
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["a", "--accept-licence", "b"], "expected 'all' or a dataset of this command"),
        (["a", "--accept-licence", "flowrs"], "did you mean flowers"),
        (["a", "--mirror", "gopher://x"], "expected http://, https://, ftp:// or a local folder"),
        (["a", "--jobs", "0"], "--jobs"),
        (["a", "--all"], "expected names of datasets or --all"),
    ],
)
def test_wrong_options_are_refused_before_any_fetching(host, root, folder, arguments, message):
    write_manifests(folder, published(host, "a", "b"))
    done = autods("fetch", *arguments, *options(root, folder))
    assert done.returncode == 2
    assert message in " ".join(done.stderr.split())
    assert host.log == []


def test_no_space_is_one_message_and_exit_code_1(host, root, folder):
    values = published(host, "a", "b")
    values["a"]["files"][0]["size"] = 10**18
    write_manifests(folder, values)
    done = autods("fetch", "a", "b", *options(root, folder))
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("error: not enough space under")
    done = autods("fetch", "a", "b", "--dry-run", *options(root, folder))
    assert done.returncode == 0
    assert "not enough, the fetch would be refused" in done.stdout


def test_a_root_that_cannot_be_written_is_not_called_full(host, folder):
    values = published(host, "a")
    values["a"]["files"][0]["size"] = 10**18
    write_manifests(folder, values)
    done = autods("fetch", "a", *options(DataRoot(Path("/sys/autods")), folder))
    assert done.returncode == 1
    assert done.stderr.startswith("error: cannot write below /sys: ")
    assert "space" not in done.stderr and "another folder (--root)" in done.stderr


def test_files_that_came_by_hand_are_imported_and_the_rest_is_named(root, folder, tmp_path):
    nowhere = "http://127.0.0.1:9/x"
    files = {"a.bin": (content("a"), nowhere), "b.bin": (content("b"), nowhere)}
    write_manifests(folder, {"hand": described("hand", files)})
    given = tmp_path / "from a friend.dat"
    given.write_bytes(content("b"))
    done = autods("import", "hand", given, *options(root, folder))
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[0] == "imported hand/b.bin"
    assert "Not here yet: a.bin" in done.stdout
    done = autods("import", "hand", given, "--json", *options(root, folder))
    assert json.loads(done.stdout) == {
        "dataset": "hand",
        "files": [{"file": "b.bin", "action": "kept"}],
        "missing": ["a.bin"],
    }
    assert root.archive("hand", "b.bin").read_bytes() == content("b")
    given.write_bytes(b"something else")
    done = autods("import", "hand", given, *options(root, folder))
    assert done.returncode == 1
    assert "Nothing was imported" in done.stderr
    assert given.exists()


def test_the_benchmark_finds_every_fault_reported_and_everything_else_in_place():
    script = Path(__file__).resolve().parents[3] / "scripts" / "bench" / "fetch.py"
    command = [sys.executable, script, "--datasets", "24", "--large", "1", "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    printed = json.loads(done.stdout)
    assert printed["problems"] == []
    assert len(printed["faults"]) == 8
    assert printed["first"]["peak_mb"] < 500
    assert printed["first"]["here"] < printed["second"]["here"] == printed["datasets"] == 25
