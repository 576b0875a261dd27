"""The notebook of the documentation runs from its first to its last cell, in an empty folder."""

import json
import subprocess
from pathlib import Path

from warm import program

REPOSITORY = Path(__file__).resolve().parent.parent
PROGRAM = """
import json, pathlib, sys, notebook
sys.executable = sys.argv[2]  # of the kernel
print(json.dumps(notebook.run(pathlib.Path(sys.argv[1])), default=dict))
"""


def kinds(notebook):
    """Return of each cell what it gave: printed text, or the forms of its value."""
    outputs = [cell.get("outputs", []) for cell in notebook["cells"]]
    return [[sorted(one.get("data", [one.get("name")])) for one in cell] for cell in outputs]


def test_the_notebook_runs_and_shows_the_tables_and_pictures_of_its_page(tmp_path):
    done = subprocess.run(
        [program("python"), "-c", PROGRAM, tmp_path, program("python")],
        cwd=REPOSITORY / "docs" / "build", capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    kept = (REPOSITORY / "docs" / "examples" / "tour.ipynb").read_text("utf-8")
    assert kinds(json.loads(done.stdout)) == kinds(json.loads(kept))
    assert "site-packages" not in kept
    assert (tmp_path / "report.html").stat().st_size > 100_000
