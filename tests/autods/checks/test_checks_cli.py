"""What verify, audit and doctor print, and with which exit code they end."""

import json
import os
import subprocess
from pathlib import Path

import numpy as np
import pytest
from flawed import make_flawed, write_manifest
from shard_tools import shard_info
from warm import program

from autods.cli.audit import audit
from autods.cli.checks import doctor, verify
from autods.core.files import read_json
from autods.core.progress import Silent
from autods.core.root import DataRoot
from autods.errors import AutodsError, UnknownName, UsageError
from autods.features.sets import seal_features
from autods.features.shards import ShardData, write_shard
from autods.index.samples import index_dataset

ENCODER = "tiny.a"


@pytest.fixture
def pets(tmp_path) -> tuple[DataRoot, Path]:
    """A dataset that is indexed and has features; return its root and manifests."""
    root, manifest = make_flawed(tmp_path, expected={"train": 25, "test": 10, "classes": 3})
    index_dataset(manifest, root, Silent())
    return root, write_manifest(manifest, tmp_path / "manifests")


def write_features(root: DataRoot, name: str = "toys") -> Path:
    """Write one finished feature set, as an import would, and return its shard."""
    info = shard_info(4, {"class": ["a", "b"]}, dataset=name, samples_sha256="", hashed="features")
    labels = {"class": np.array([0, 1, 0, 1], np.int32)}
    data = ShardData(
        np.ones((4, 2), np.float16), labels, np.arange(4), np.arange(4, dtype=np.uint64)
    )
    path = root.shard(ENCODER, name, "train", 0, 1)
    write_shard(path, data, info)
    seal_features(root, ENCODER, name)
    return path


def verified(root: DataRoot, manifests: Path, capsys, **options) -> dict[str, tuple[str, ...]]:
    """Return dataset to the states of its parts, by JSON and by the table: they must agree."""
    rows = {}
    for json_wanted in (True, False):
        failed = False
        try:
            verify(root=root.path, manifests=[manifests], json=json_wanted, **options)
        except AutodsError as error:
            failed = " found; nothing was changed." in str(error)
        text = capsys.readouterr().out
        if json_wanted:
            found = json.loads(text)["datasets"]
            parts = ("archives", "index", "counts", "features")
            rows = {row["dataset"]: tuple(row[part] for part in parts) for row in found}
            problems = [problem for row in found for problem in row["problems"]]
            assert failed == bool(problems)
        else:
            for name, states in rows.items():
                line = next(line for line in text.splitlines() if line.startswith(f"{name} "))
                assert tuple(line.split()[1:]) == states
            for problem in problems:
                assert problem in text
    return rows


def test_sound_data_is_ok_and_what_is_not_here_is_a_dash(capsys, pets):
    root, manifests = pets
    write_features(root)
    assert verified(root, manifests, capsys) == {
        "pets": ("ok", "ok", "ok", "-"),
        "toys": ("-", "-", "-", "ok"),
    }
    verify(root=root.path, manifests=[manifests])
    assert f"No problem found under {root.path}." in capsys.readouterr().out


def test_each_part_has_its_own_problems(capsys, pets):
    root, manifests = pets
    write_features(root).write_bytes(b"cut off")
    text = (manifests / "pets.yaml").read_text()
    (manifests / "pets.yaml").write_text(text.replace("train: 25", "train: 26"))
    with root.samples("pets").open("ab") as handle:
        handle.write(b"PAR1")
    rows = verified(root, manifests, capsys)
    assert rows["pets"] == ("ok", "problem", "?", "-")
    assert rows["toys"] == ("-", "-", "-", "problem")


def test_wrong_counts_are_problems_with_what_was_expected(capsys, pets):
    root, manifests = pets
    text = (manifests / "pets.yaml").read_text()
    (manifests / "pets.yaml").write_text(text.replace("train: 25", "train: 26"))
    assert verified(root, manifests, capsys)["pets"] == ("ok", "ok", "problem", "-")
    with pytest.raises(AutodsError, match="1 problem found"):
        verify(root=root.path, manifests=[manifests])
    assert "pets: expected 26 training images, the index has 25;" in capsys.readouterr().out


def test_a_damaged_archive_and_record_are_problems_of_the_archives(capsys, pets):
    root, manifests = pets
    with root.archive("pets", "pets.zip").open("ab") as handle:
        handle.write(b"more")
    assert verified(root, manifests, capsys)["pets"][0] == "problem"
    root.record("pets").write_text("{")
    assert verified(root, manifests, capsys)["pets"] == ("problem", "-", "-", "-")


def test_a_dataset_without_a_manifest_is_not_passed_over(capsys, pets, tmp_path):
    root, _ = pets
    (tmp_path / "other" / "streams").mkdir(parents=True)
    (tmp_path / "other" / "streams" / "none.yaml").write_text("")
    assert verified(root, tmp_path / "other", capsys)["pets"] == ("?", "?", "-", "-")


def test_verify_takes_names_and_an_encoder(capsys, pets):
    root, manifests = pets
    write_features(root)
    write_features(root, "pens").write_bytes(b"cut off")
    assert list(verified(root, manifests, capsys, names=["toys"])) == ["toys"]
    with pytest.raises(UsageError, match="nothing of 'flowers' is here yet"):
        verify(["flowers"], root=root.path)
    with pytest.raises(UnknownName, match=r"did you mean tiny\.a"):
        verify(encoder="tiny.b", root=root.path)


def test_an_empty_root_has_nothing_to_verify(capsys, tmp_path):
    verify(root=tmp_path)
    assert capsys.readouterr().out == f"Nothing to verify yet under {tmp_path}.\n"


def test_audit_prints_a_row_and_writes_findings_and_report(monkeypatch, capsys, pets, tmp_path):
    root, manifests = pets
    report = tmp_path / "out" / "audit.md"
    for width in (80, 120):
        monkeypatch.setenv("COLUMNS", str(width))
        audit(root=root.path, manifests=[manifests], report=report)
        lines = [line.rstrip() for line in capsys.readouterr().out.splitlines()]
        assert max(map(len, lines)) <= width
        assert lines[1].split() == [
            *("dataset", "images", "broken", "copies", "in", "test", "conflicts", "missing"),
            "ratio",
        ]
        assert lines[2].split() == ["pets", "35", "2", "4", "1", "2", "1", "13.0"]
    assert report.read_text().startswith("# Audit\n")
    found = read_json(root.audit("pets"))
    audit(root=root.path, manifests=[manifests], json=True)
    assert json.loads(capsys.readouterr().out) == [found]


def test_an_audit_that_fails_does_not_stop_the_others(capsys, pets, tmp_path):
    root, manifests = pets
    root.samples("broken").parent.mkdir(parents=True)
    root.samples("broken").write_text("no index")
    root.record("broken").write_text("{}")
    with pytest.raises(AutodsError, match="1 of 2 datasets failed: broken"):
        audit(root=root.path, manifests=[manifests])
    out, err = capsys.readouterr()
    assert "error: broken:" in err
    assert "pets" in out


def test_an_audit_needs_an_index(tmp_path):
    with pytest.raises(UsageError, match="start with `autods index`"):
        audit(root=tmp_path)
    with pytest.raises(UnknownName, match="did you mean flowers"):
        audit(["flowrs"], root=tmp_path)
    with pytest.raises(AutodsError, match=r"^flowers: .*dataset 'flowers' is not indexed yet"):
        audit(["flowers"], root=tmp_path)


def test_a_report_that_cannot_be_written_is_refused_before_the_audit(capsys, pets, tmp_path):
    root, _ = pets
    (tmp_path / "file").write_text("x")
    for place, got in ((tmp_path, "a folder"), (tmp_path / "file" / "r.md", "file is a file")):
        with pytest.raises(UsageError, match=got):
            audit(root=root.path, report=place)
    assert not root.audit("pets").exists()


def test_an_audit_says_where_its_report_is_or_how_to_get_one(capsys, pets, tmp_path):
    root, manifests = pets
    audit(root=root.path, manifests=[manifests])
    assert "--report FILE.html shows these images." in capsys.readouterr().out
    report = tmp_path / "audit.md"
    audit(root=root.path, manifests=[manifests], report=report)
    out, err = capsys.readouterr()
    assert "--report" not in out
    assert f"Report: {report}\n" in err


def test_doctor_fails_only_where_something_failed(capsys, pets, tmp_path):
    root, manifests = pets
    doctor(["pets"], offline=True, root=root.path, manifests=[manifests])
    assert " can be written" in " ".join(capsys.readouterr().out.split())
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(AutodsError, match=r"1 check failed"):
        doctor(["pets"], offline=True, root=tmp_path / "file" / "root", manifests=[manifests])
    assert "fail  root" in capsys.readouterr().out
    with pytest.raises(AutodsError):
        root_in_file = tmp_path / "file" / "root"
        doctor(["pets"], offline=True, root=root_in_file, manifests=[manifests], json=True)
    checks = json.loads(capsys.readouterr().out)
    assert [check["check"] for check in checks if check["state"] == "fail"] == ["root"]
    assert set(checks[0]) == {"check", "state", "text", "cure"}


@pytest.mark.parametrize("command", ["verify", "audit", "doctor"])
def test_the_commands_end_with_the_exit_code_of_what_they_found(pets, tmp_path, command):
    root, manifests = pets
    root.archive("pets", "pets.zip").unlink()
    options = ["--again"] if command == "audit" else []
    code = 1
    if command == "doctor":
        options, code = ["--offline"], 0
    done = subprocess.run(
        [*(program("autods"), command, "pets"), *("--manifests", str(manifests), *options)],
        text=True,
        capture_output=True,
        timeout=120,
        env={**os.environ, "AUTODS_ROOT": str(root.path)},
        check=False,
    )
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr


def test_verify_of_a_stream_names_what_is_not_here_as_a_problem(capsys, pets):
    root, manifests = pets
    (manifests / "streams").mkdir()
    (manifests / "streams" / "mine.yaml").write_text("name: mine\ndatasets: [pets, flowers]\n")
    with pytest.raises(AutodsError, match="1 problem found"):
        verify(stream="mine", root=root.path, manifests=[manifests])
    shown = capsys.readouterr().out
    assert "nothing is here of: flowers; `autods fetch` brings them." in shown
    verify(stream="mine", exclude=["flow*"], root=root.path, manifests=[manifests])
    assert "Left out by --exclude: flowers." in capsys.readouterr().err
