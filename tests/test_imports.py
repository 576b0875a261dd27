"""The rooms of the packages: which may import which (the contracts stand in pyproject.toml)."""

import shutil
import subprocess
import sys
from graphlib import TopologicalSorter
from pathlib import Path

import grimp
import pytest

ROOT = Path(__file__).parents[1]


def test_no_module_imports_itself_through_others_not_even_for_types_or_inside_functions():
    graph = grimp.build_graph("autods", "bmc", cache_dir=None)
    imports = {name: graph.find_modules_directly_imported_by(name) for name in graph.modules}
    assert len(imports) > 200
    TopologicalSorter(imports).prepare()  # the error of a circle names its modules


@pytest.mark.parametrize(
    ("file", "line", "broken"),
    [
        ("core/files.py", "import autods.cli.app", "only rooms below it BROKEN"),
        ("core/files.py", "    from autods.fetch import plan", "only rooms below it BROKEN"),
        ("fetch/plan.py", "import bmc.config", "never imports bmc BROKEN"),
        ("core/root.py", "import autods.core.console", "circles inside a room BROKEN"),
        ("attic/__init__.py", "", "only rooms below it BROKEN"),
    ],
)
def test_a_wrong_import_breaks_the_contract(tmp_path, file, line, broken):
    for package in ("autods", "bmc"):
        shutil.copytree(ROOT / package, tmp_path / package, ignore=shutil.ignore_patterns("*.pyc"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    path = tmp_path / "autods" / file
    path.parent.mkdir(exist_ok=True)
    with path.open("a") as handle:
        handle.write(f"\n\ndef late():\n{line}\n" if line.startswith(" ") else f"{line}\n")
    done = subprocess.run(
        [Path(sys.executable).with_name("lint-imports"), "--no-logo", "--no-cache"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1, done.stdout + done.stderr
    assert broken in done.stdout
