"""Commands that messages suggest are one copy away from a shell."""

import re
import shlex
from pathlib import Path

import pytest

from autods.core.root import DataRoot
from autods.core.shell import quoted
from autods.errors import FeaturesMissing
from autods.features.sets import open_features
from autods.manifest.new.folder import manifest_from_folder

NAMES = ["plain", "two words", "it's", 'a "b"', "$HOME", "a;b", "caf\u00e9 (1)", "back\\slash", "*"]


@pytest.mark.parametrize("name", NAMES)
def test_a_shell_reads_back_what_was_quoted(name):
    assert shlex.split(quoted("--out", Path(name), name)) == ["--out", str(Path(name)), name]


@pytest.mark.parametrize("name", NAMES)
def test_the_command_for_missing_features_names_the_root_as_a_shell_reads_it(tmp_path, name):
    root = DataRoot.open(tmp_path / name)
    with pytest.raises(FeaturesMissing) as caught:
        open_features(root, "ViT-B-32.openai", "toy")
    (command,) = re.findall(r"`(autods extract .*?)`", str(caught.value))
    assert shlex.split(command)[-2:] == ["--root", str(root.path)]


@pytest.mark.parametrize("name", NAMES)
def test_the_next_step_of_new_names_the_folder_as_a_shell_reads_it(tmp_path, name):
    (tmp_path / "images" / "cat").mkdir(parents=True)
    (tmp_path / "images" / "dog").mkdir()
    for path in ("cat/1.png", "cat/2.png", "dog/1.png", "dog/2.png"):
        (tmp_path / "images" / path).write_bytes(b"\x89PNG\r\n\x1a\n" + path.encode())
    _, told = manifest_from_folder("toy", tmp_path / "images", tmp_path / name)
    command = told[-1].partition("Next: ")[2]
    assert shlex.split(command)[-2:] == ["--manifests", str(tmp_path / name)]


def test_no_message_puts_a_path_into_a_command_without_quotes():
    places = Path(__file__).parents[3]
    unquoted = re.compile(
        r"(?:autods|bmc-stream|chmod) [^`'\"]*\{(?:root\.path|path|folder|target|out)\}"
    )
    found = [
        f"{path}: {line.strip()}"
        for package in ("autods", "bmc")
        for path in (places / package).rglob("*.py")
        for line in path.read_text(encoding="utf-8").splitlines()
        if unquoted.search(line)
    ]
    assert found == []


def test_a_path_that_begins_with_a_dash_is_no_option():
    assert quoted(Path("-m"), "--out", Path("a -b")) == "./-m --out 'a -b'"
