import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from warm import program

HEAVY = ("torch", "numpy", "pandas", "pyarrow", "h5py", "httpx", "scipy", "open_clip", "datasets")


def autods(*arguments: object, root: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [program("autods"), *map(str, arguments)],
        text=True,
        capture_output=True,
        timeout=120,
        env={**os.environ, "AUTODS_ROOT": str(root)},
        check=False,
    )


def images(folder: Path, classes: int = 2, each: int = 5) -> Path:
    rng = np.random.default_rng(0)
    for label in range(classes):
        (folder / f"c{label}").mkdir(parents=True)
        for number in range(each):
            pixels = rng.integers(0, 255, (8, 8, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / f"c{label}" / f"{number}.png")
    return folder


@pytest.mark.parametrize("module", ["autods.cli.app", "bmc.cli.app"])
def test_help_needs_no_heavy_import(module):
    code = f"import sys, {module}; print([m for m in {HEAVY} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_list_shows_unknown_facts_as_unknown(tmp_path):
    rows = json.loads(autods("list", "--json", root=tmp_path).stdout)
    flowers = next(row for row in rows if row["name"] == "flowers")
    assert (flowers["classes"], flowers["train"], flowers["licence"]) == (17, 1020, None)


def test_a_folder_of_images_becomes_a_fetched_and_indexed_dataset(tmp_path):
    root, manifests = tmp_path / "root", tmp_path / "manifests"
    folder = images(tmp_path / "pets")
    assert autods("new", "pets", "--folder", folder, "--out", manifests, root=root).returncode == 0
    for command in ("fetch", "index", "verify"):
        done = autods(command, "pets", "--manifests", manifests, root=root)
        assert done.returncode == 0, done.stderr
    status = autods("status", "--json", "--manifests", manifests, root=root)
    assert json.loads(status.stdout)["datasets"] == [
        {
            "dataset": "pets",
            "state": "indexed",
            "fetched": True,
            "missing": [],
            "indexed": True,
            "samples": 10,
            "features": [],
            "problem": None,
        }
    ]
    shown = autods("info", "pets", "--manifests", manifests, "--json", root=root)
    assert json.loads(shown.stdout)["layout"]["family"] == "class-folders"


def test_one_failing_dataset_does_not_stop_the_others(tmp_path):
    root, manifests = tmp_path / "root", tmp_path / "manifests"
    for name in ("cats", "dogs"):
        autods("new", name, "--folder", images(tmp_path / name), "--out", manifests, root=root)
    (tmp_path / "cats" / "c0" / "0.png").write_bytes(b"changed since the manifest was made")
    done = autods("fetch", "cats", "dogs", "--manifests", manifests, root=root)
    assert done.returncode == 1
    assert "cats" in done.stderr
    assert "1 of 2 datasets are here, 1 is not" in done.stdout
    assert (root / "datasets" / "dogs" / "archives").is_dir()


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["fetch", "flowrs"], 2, "unknown dataset 'flowrs'; did you mean flowers"),
        (["fetch"], 2, "expected names of datasets or --all"),
        (["info", "tinyimagnet"], 2, "did you mean tinyimagenet"),
        (["index", "flowers"], 1, "autods fetch flowers"),
        (["extract"], 2, "start with `autods fetch NAME`"),
        (["extract", "flowers", "--model", "ViT-B-23", "--random-weights", "0"], 2, "ViT-B-32"),
        (["extract", "flowers", "--pretrained", "laion2b"], 2, "laion2b_s34b_b79k"),
        (["extract", "flowers", "--pretrained", "openai"], 1, "ViT-B-32-quickgelu"),
        (["verify", "flowers"], 2, "autods fetch flowers"),
        (["list", "--manifests", "nowhere"], 1, "nowhere does not exist"),
        (["import-features", "nowhere", "--encoder", "x.y"], 2, "nowhere"),
    ],
)
def test_wrong_requests_get_one_message_and_an_exit_code(tmp_path, arguments, code, message):
    done = autods(*arguments, root=tmp_path / "root")
    assert message in " ".join(done.stderr.split())
    assert "Traceback" not in done.stderr
    assert done.returncode == code
    assert not (tmp_path / "root" / "features").exists()


def test_a_wrong_manifest_names_file_line_field_and_what_was_expected(tmp_path):
    folder = images(tmp_path / "pets")
    manifests = tmp_path / "manifests"
    autods("new", "pets", "--folder", folder, "--out", manifests, root=tmp_path)
    path = manifests / "pets.yaml"
    path.write_text(path.read_text() + "colour: red\n")
    line = len(path.read_text().splitlines())
    done = autods("fetch", "pets", "--manifests", manifests, root=tmp_path / "root")
    assert f"{path}:{line}: colour: unknown key" in done.stderr
    assert "Traceback" not in done.stderr
    assert done.returncode == 1


def test_verify_does_not_pass_over_a_dataset_whose_manifest_it_does_not_know(tmp_path):
    root, manifests = tmp_path / "root", tmp_path / "manifests"
    autods("new", "pets", "--folder", images(tmp_path / "pets"), "--out", manifests, root=root)
    autods("fetch", "pets", "--manifests", manifests, root=root)
    (root / "manifests.json").unlink()
    done = autods("verify", root=root)
    assert done.returncode == 1
    assert "pets: not checked: no manifest is known; add --manifests" in done.stdout
    status = json.loads(autods("status", "--json", root=root).stdout)["datasets"]
    assert [(row["dataset"], row["fetched"], row["state"]) for row in status] == [
        ("pets", None, "unknown")
    ]
    assert status[0]["problem"] == "no manifest is known; add --manifests FOLDER."


def test_a_root_that_is_a_file_is_refused(tmp_path):
    (tmp_path / "root").write_text("not a folder")
    done = autods("status", root=tmp_path / "root")
    assert done.returncode == 2
    assert "is a file; expected a folder" in done.stderr


def test_folders_beside_train_and_test_are_not_mixed_into_classes(tmp_path):
    for part in ("train", "test", "other"):
        images(tmp_path / "pets" / part)
    out = tmp_path / "manifests"
    done = autods("new", "pets", "--folder", tmp_path / "pets", "--out", out, root=tmp_path)
    assert done.returncode == 1
    assert "found other beside them" in done.stderr
    assert not out.exists()
