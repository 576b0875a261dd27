"""No home, no entry in passwd, and terminals that know few signs."""

import io
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from warm import program

from autods.core import home, output
from autods.core.root import DataRoot, default_root
from autods.errors import UsageError

NOBODY = """
import os, sys
sys.modules.pop("pwd", None)
try:
    import pwd
    def unknown(*_): raise KeyError("uid not found")
    pwd.getpwuid = pwd.getpwnam = unknown
except ImportError:
    pass
"""


def run(
    *command: str, folder: Path, python: str = sys.executable, **environment: str
) -> subprocess.CompletedProcess[bytes]:
    """Run a command line as a user without a home and without an entry in passwd.

    A warm ``python`` has imported modules where there was a home, and passwd is the real one.
    """
    (folder / "sitecustomize.py").write_text(NOBODY)
    kept = {k: v for k, v in os.environ.items() if k not in ("HOME", "USER", "LOGNAME")}
    kept |= {"PYTHONPATH": f"{folder}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"}
    kept |= {"TMPDIR": str(folder), "AUTODS_ROOT": ""} | environment
    code = f"from {command[0]}.cli.app import main; main()"
    return subprocess.run(
        [python, "-c", code, *command[1:]],
        env=kept, cwd=folder, capture_output=True, check=False,
    )  # fmt: skip


TRAIN = ("bmc", "run", "--scenario", "class-il", "--stream", "synthetic", "--max-tasks", "2",
         "--epochs", "1", "--scale", "0.01", "--method", "ncm,joint", "--out", "runs")  # fmt: skip


@pytest.mark.parametrize(
    "command",
    [("autods", "list"), ("autods", "status"), ("autods", "--version"), ("bmc", "--version"),
     ("bmc", "methods"), ("autods", "doctor", "--offline"), TRAIN],
    ids=" ".join,
)  # fmt: skip
def test_without_a_home_every_command_works_and_says_what_serves_as_one(tmp_path, command):
    done = run(*command, folder=tmp_path)
    told = done.stderr.decode()
    assert "Traceback" not in told and done.returncode == 0
    if "--version" not in command:
        assert f"{tmp_path}/autods-home-" in told and "Set HOME, or AUTODS_ROOT" in told
    assert not (tmp_path / "~").exists()


def test_with_a_home_nothing_is_said(tmp_path):
    done = run("autods", "status", folder=tmp_path, HOME=str(tmp_path))
    assert (done.returncode, done.stderr) == (0, b"")


def test_what_serves_as_a_home_is_of_this_user_alone(tmp_path, monkeypatch):
    monkeypatch.setattr(home.tempfile, "tempdir", str(tmp_path))
    first = home.substitute()
    assert first.stat().st_mode & 0o777 == 0o700
    assert home.substitute() == first
    first.rmdir()
    first.symlink_to(tmp_path)  # put there by another
    assert home.substitute() != first


@pytest.mark.parametrize("value", ["", "relative/folder", None])
def test_a_library_is_warned_of_the_folder_that_it_gets(tmp_path, monkeypatch, value):
    monkeypatch.setattr(home.tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(home, "_of_passwd", lambda: Path("nothing"))
    monkeypatch.delenv("AUTODS_ROOT", raising=False)
    monkeypatch.setenv("HOME", value) if value is not None else monkeypatch.delenv("HOME")
    with pytest.warns(UserWarning, match="no home folder is known"):
        assert default_root().is_relative_to(tmp_path)


@pytest.mark.parametrize("path", ["~nobody-of-this-name/data", "~nobody-of-this-name"])
def test_the_home_of_an_unknown_user_is_refused_with_the_path(path):
    with pytest.raises(UsageError, match="'~nobody-of-this-name' stands for is not known"):
        DataRoot.open(path)


ENCODINGS = ["ascii", "latin-1", "iso8859-5"]


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize(
    "command",
    [("autods", "list"), ("autods", "--help"), ("bmc", "methods", "fecam"), ("bmc", "methods")],
    ids=" ".join,
)
def test_every_encoding_of_a_terminal_takes_what_is_printed(tmp_path, encoding, command):
    home = {"python": program("python"), "HOME": str(tmp_path)}
    done = run(*command, folder=tmp_path, **home, PYTHONIOENCODING=encoding)
    assert done.returncode == 0, done.stderr.decode(errors="replace")
    assert done.stdout.decode(encoding)


@pytest.mark.parametrize(
    ("start", "environment"),
    [(lambda: program("python"), {"PYTHONIOENCODING": "latin-1"}),
     (lambda: sys.executable, {"LC_ALL": "POSIX", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"})],
    ids=["latin-1", "POSIX"],
)  # fmt: skip
def test_a_run_ends_with_its_table_whatever_the_terminal(tmp_path, start, environment):
    done = run(*TRAIN, folder=tmp_path, python=start(), HOME=str(tmp_path), **environment)
    assert done.returncode == 0, done.stderr.decode(errors="replace")
    assert "Joint training +" in done.stdout.decode("latin-1")
    assert (tmp_path / "runs" / "report.html").is_file()


def test_json_is_the_same_in_every_encoding(tmp_path):
    printed = {
        encoding: run("autods", "list", "--json", folder=tmp_path, PYTHONIOENCODING=encoding).stdout
        for encoding in ENCODINGS
    }
    assert len(set(printed.values())) == 1
    json.loads(printed["ascii"])


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("long na\u2026", "long na~"),
        ("a \u2212 b \u00b1 c", "a - b +- c"),
        ("\u03bb\u03a3\u03b8", "lambdaSigmatheta"),
        ("x\u00b2, A\u1d40, \u00bd", "x2, AT, 1/2"),
        ("caf\u00e9 \u732b", "caf\\xe9 \\u732b"),
        ("\u2020 \u2192 \u00d7", "+ > x"),
    ],
)
def test_signs_are_written_by_signs_alike_and_letters_are_not_lost(text, expected):
    assert output.plain(text) == expected
    stream = io.TextIOWrapper(io.BytesIO(), "ascii", errors=output.HANDLER)
    stream.write(text)
    stream.flush()
    assert stream.buffer.getvalue() == expected.encode()


def test_a_full_disk_behind_standard_output_is_told(tmp_path):
    full = Path("/dev/full")
    if not full.exists():
        pytest.skip("has no /dev/full")
    with full.open("wb") as out:
        done = subprocess.run(
            [sys.executable, "-c", "from autods.cli.app import main; main()", "list"],
            stdout=out, stderr=subprocess.PIPE, check=False,
        )  # fmt: skip
    assert done.returncode == 1
    assert b"the disk is full" in done.stderr and b"Traceback" not in done.stderr


def test_prose_is_broken_at_words_on_a_terminal_and_commands_stay_whole():
    command = "`autods fetch a-name --mirror /a/folder`"
    text = f"first {'word ' * 20}then run {command} again.\n  indented {'word ' * 20}"
    lines = output.at_words(text, 60).split("\n")
    assert max(map(len, lines)) <= 60
    assert any(command in line for line in lines)
    assert [line.startswith("  ") for line in lines] == [False, *[True] * (len(lines) - 1)]
    assert " ".join(" ".join(lines).split()) == " ".join(text.split())
    assert output.at_words(f"Next: {'x ' * 60}", 60) == f"Next: {'x ' * 60}"
