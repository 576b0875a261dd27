"""Every command and program of the README runs, in its order, in one folder."""

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

REPOSITORY = Path(__file__).resolve().parent.parent
TEXT = (REPOSITORY / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(sh|python)\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)

# What the test changes in a command, and why.
SMALLER = {
    # no network: random weights instead of published ones
    "--model ViT-B-32": "--model ViT-B-32 --random-weights 0",
    "ViT-B-32.laion2b_s34b_b79k": "ViT-B-32.random-0",
    # two short tasks instead of 71
    "--stream synthetic": "--stream synthetic --max-tasks 2 --epochs 1",
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("readme")
    rng = np.random.default_rng(0)
    for label in range(4):
        (path / "pictures" / "pets" / f"pet{label}").mkdir(parents=True)
        for number in range(6):
            pixels = rng.integers(0, 60 * (label + 1), (16, 16, 3), dtype=np.uint8)
            target = path / "pictures" / "pets" / f"pet{label}" / f"{number}.png"
            Image.fromarray(pixels).save(target)
    (path / "features").mkdir()
    x, y = rng.normal(size=(60, 16)).astype("float16"), np.arange(60, dtype="int32") % 6
    names = np.array([f"class{i}" for i in range(6)])
    np.savez(
        path / "features" / "mine.npz",
        x_train=x + y[:, None], y_train=y, x_val=x + y[:, None] + 0.1, y_val=y, class_names=names,
    )  # fmt: skip
    return path


def test_the_readme_has_commands_and_a_program_to_run():
    assert [kind for kind, _ in BLOCKS].count("sh") >= 4
    assert [kind for kind, _ in BLOCKS].count("python") == 1


def test_every_block_of_the_readme_runs(folder):
    bin_folder = Path(sys.executable).parent
    environment = {
        **os.environ,
        "PATH": f"{bin_folder}{os.pathsep}{os.environ['PATH']}",
        "AUTODS_ROOT": str(folder / "root"),
    }
    for kind, text in BLOCKS:
        for before, after in SMALLER.items():
            text = text.replace(before, after)  # noqa: PLW2901 - the block that runs
        command = ["bash", "-euc", text] if kind == "sh" else [sys.executable, "-c", text]
        done = subprocess.run(
            command, cwd=folder, env=environment, text=True, capture_output=True, timeout=300,
            check=False,
        )  # fmt: skip
        assert done.returncode == 0, f"{text}\n{done.stdout}\n{done.stderr}"
    assert (folder / "report.html").exists()


def test_every_file_the_readme_points_to_exists():
    for target in re.findall(r"\]\(([^)#:]+)\)", TEXT):
        assert (REPOSITORY / target).exists(), target
    for name in re.findall(r"^\| `([^`]+)` \|", TEXT, re.MULTILINE):
        assert (REPOSITORY / name).exists(), name
    for script in re.findall(r"scripts/\w+\.sh", TEXT):
        assert os.access(REPOSITORY / script, os.X_OK), script
