"""The script that compares the manifests' checksums and sizes with lists of others."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

SCRIPT = Path(__file__).resolve().parents[3] / "scripts" / "compare_checksums.py"
MD5, OTHER, SHA = "ab" * 16, "cd" * 16, "ef" * 32
URL = "https://data.example.org/sets/a.zip"
LISTS = {
    "checksums.tsv": f"{URL}\t123\t{SHA}\ta.zip\n",
    "old.txt": f"{URL} 123 {SHA}\n",
    "dataset_infos.json": json.dumps(
        {"default": {"download_checksums": {URL: {"num_bytes": 123, "checksum": SHA}}}}
    ),
    "annex.txt": f"a.zip MD5E-s123--{MD5}.zip\n",
    "loader.py": f'FILES = [("a.zip", "{MD5}")]\n',
    "md5sums": f"{MD5}  a.zip\n{OTHER} *b.zip\n",
}


def verdict(folder: Path, lists: dict[str, str], **entry: object) -> dict[str, list[str]]:
    """Return what the script says of one file that a manifest of our own describes."""
    content = {
        "name": "mine", "title": "Mine", "homepage": None, "citation": None, "licence": None,
        "access": "open",
        "files": [{"name": "a.zip", "checksum": f"md5:{MD5}",
                   "mirrors": [{"kind": "http", "url": URL}], **entry}],
        "layout": {"family": "class-folders", "files": ["a.zip"], "pattern": "{class}/*",
                   "labels": {"class": "{class}"}},
        "tasks": {"class": {}}, "default_task": "class",
        "splits": {"clean": {"rule": "random", "test_fraction": 0.25}},
    }  # fmt: skip
    for name, text in lists.items():
        (folder / "lists").mkdir(exist_ok=True)
        (folder / "lists" / name).write_text(text)
    (folder / "manifests").mkdir()
    (folder / "manifests" / "mine.yaml").write_text(yaml.safe_dump(content))
    command = [sys.executable, SCRIPT, folder / "lists", "--manifests", folder / "manifests"]
    done = subprocess.run([*command, "--json"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    (found,) = [each for each in json.loads(done.stdout) if each["dataset"] == "mine"]
    return found


@pytest.mark.parametrize("name", sorted(LISTS))
def test_each_form_of_list_confirms_what_agrees_and_tells_what_we_lack(tmp_path, name):
    found = verdict(tmp_path, {name: LISTS[name]})
    assert found["differs"] == []
    if "md5" in name or name in ("annex.txt", "loader.py"):
        assert found["confirmed"] == [f"md5 (lists/{name})"]
    else:
        assert f"sha256: {SHA} (lists/{name})" in found["missing"]
    if name not in ("loader.py", "md5sums"):
        assert f"size: 123 (lists/{name})" in found["missing"]


def test_another_size_for_the_same_address_is_told(tmp_path):
    found = verdict(tmp_path, {"checksums.tsv": LISTS["checksums.tsv"]}, size=124)
    assert found["differs"] == ["123 bytes (lists/checksums.tsv)"]
    assert found["confirmed"] == []


def test_what_we_have_already_is_confirmed_and_not_missing(tmp_path):
    entry = {"size": 123, "sha256": SHA}
    found = verdict(tmp_path, {"checksums.tsv": LISTS["checksums.tsv"]}, **entry)
    sayings = ["sha256 (lists/checksums.tsv)", "123 bytes (lists/checksums.tsv)"]
    assert sorted(found["confirmed"]) == sorted(sayings)
    assert (found["differs"], found["missing"]) == ([], [])


def test_a_list_that_does_not_exist_is_named():
    command = [sys.executable, SCRIPT, "/nowhere/list.tsv"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, "/nowhere/list.tsv does not exist" in done.stderr) == (2, True)
