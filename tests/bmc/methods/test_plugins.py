"""Methods of other packages: the worked example installed and run; wrong ones are told."""

import csv
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from warm import program

from autods.errors import UnknownName, UsageError
from autods.streams.synthetic import synthetic_stream
from bmc.config import Config
from bmc.methods import METHODS, Method
from bmc.methods.plugins import PluginRegistry
from bmc.train.data import to_tensors

REPOSITORY = Path(__file__).resolve().parents[3]
EXAMPLE = REPOSITORY / "docs" / "examples" / "own_method"
SMALL = ["--scenario", "class-il", "--max-tasks", "3", "--scale", "0.0001", "--epochs", "1"]

METHOD = """
from bmc.methods import Method

class Mine(Method):
    name, title = "{name}", "{title}"
    def learn(self, group): self.seen = group[-1].stop
    def scores(self, features): return features.new_zeros(len(features), self.seen)
    def state(self): return {{}}
    def load_state(self, state): pass
"""

OWN_OPTIONS = (
    "from dataclasses import dataclass\nfrom bmc.config import option\n"
    + METHOD.format(name="mine", title="T")
    + "    {}\n    class Options(Method.Options):\n        {}\n"
).replace("return {}", "return dict()")
NCM = METHODS.get("ncm")  # the registry looks for packages once: before tests offer any


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Install the worked example into a folder of its own, as `pip install` does."""
    target = tmp_path_factory.mktemp("site")
    source = tmp_path_factory.mktemp("source")
    for name in ("pyproject.toml", "diagonal_lda.py"):
        (source / name).write_bytes((EXAMPLE / name).read_bytes())
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    offline = ["--no-index", "--no-deps", "--no-build-isolation", "--target", str(target)]
    subprocess.run([*pip, *offline, str(source)], check=True)
    return target


@pytest.fixture
def packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a folder on the path in which `offer` puts packages."""
    folder = tmp_path / "packages"
    folder.mkdir()
    monkeypatch.syspath_prepend(folder)
    return folder


def registry() -> PluginRegistry[Method]:
    """Return a registry that has one method and has not looked for packages yet."""
    fresh = PluginRegistry("method", Method, METHODS.needed)
    fresh.register("ncm")(NCM)
    return fresh


def offer(packages: Path, package: str, entries: dict[str, str], **modules: str) -> None:
    """Put a package there as an installer leaves it: modules and metadata."""
    info = packages / f"{package}-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n")
    lines = [f"{name} = {value}" for name, value in entries.items()]
    (info / "entry_points.txt").write_text("\n".join(["[bmc.methods]", *lines, ""]))
    for name, text in modules.items():
        (packages / f"{name}.py").write_text(text)


def bmc(*words: object, path: Path | str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(path), str(REPOSITORY)])}
    return subprocess.run(
        [program("bmc-stream"), *map(str, words)], env={**environment, "COLUMNS": "200"}, text=True,
        capture_output=True, timeout=240, check=False,
    )  # fmt: skip


def test_the_worked_example_is_as_short_as_promised():
    assert len((EXAMPLE / "diagonal_lda.py").read_text().splitlines()) <= 60


def test_the_page_shows_the_worked_example_as_it_is():
    page = (REPOSITORY / "docs" / "own_method.md").read_text(encoding="utf-8")
    for name in ("pyproject.toml", "diagonal_lda.py"):
        assert (EXAMPLE / name).read_text(encoding="utf-8") in page


def test_a_resumed_run_of_the_worked_example_ends_with_the_same_numbers(installed, monkeypatch):
    monkeypatch.syspath_prepend(installed)
    stream, cpu = synthetic_stream(scale=0.0001, tasks=3), torch.device("cpu")
    kind = registry().get("diagonal-lda")
    whole, first, rest = (kind(stream.dim, stream.n_classes, Config(), cpu) for _ in range(3))
    tasks = to_tensors(stream, cpu)
    for task in tasks:
        whole.learn([task])
    first.learn(tasks[:1])
    rest.load_state(first.state())
    for task in tasks[1:]:
        rest.learn([task])
    scores = whole.scores(tasks[0].test.features)
    assert scores.shape == (len(tasks[0].test), stream.n_classes) and scores.std() > 0
    assert torch.equal(scores, rest.scores(tasks[0].test.features))


def test_processes_of_a_comparison_see_the_worked_example(installed, tmp_path):
    done = bmc(
        "compare", *SMALL, "--method", "diagonal-lda,ncm", "--order", "0,1", "--jobs", "2",
        "--out", tmp_path, path=installed,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    rows = list(csv.DictReader((tmp_path / "compare.csv").read_text().splitlines()))
    assert "diagonal-lda" in {row["method"] for row in rows}
    assert len(list(tmp_path.rglob("diagonal-lda*/results.json"))) == 2
    assert "Diagonal LDA" in (tmp_path / "report.html").read_text()


def test_the_worked_example_is_listed_beside_a_package_that_cannot_be_imported(installed, packages):
    offer(packages, "broken", {"mine": "no_such_module:Mine"})
    listed = bmc("methods", path=f"{installed}{os.pathsep}{packages}")
    assert listed.returncode == 0
    (line,) = [line for line in listed.stdout.splitlines() if line.startswith("diagonal-lda")]
    assert "Diagonal LDA" in line and "one variance per feature" in line
    assert listed.stderr.startswith(
        "warning: method 'mine' of no_such_module:Mine (broken 1.0) cannot be imported: "
        "ModuleNotFoundError: No module named 'no_such_module'; left out.\nNext: "
    )


def test_what_fails_to_import_is_one_line_and_is_told_again_when_asked_for(packages, capsys):
    offer(packages, "leaver", {"leaves": "leaver:Mine"}, leaver="raise SystemExit('bye\\nbye')")
    offer(packages, "whole", {"good": "whole:Mine"}, whole=METHOD.format(name="good", title="G"))
    methods = registry()
    assert methods.names() == ["good", "ncm"] == methods.names()
    why = "method 'leaves' of leaver:Mine (leaver 1.0) cannot be imported: SystemExit: bye bye"
    assert capsys.readouterr().err == f"warning: {why}; left out.\n"
    with pytest.raises(UsageError, match=re.escape(f"{why}; nothing was run.")):
        methods.get("leaves")
    with pytest.raises(UnknownName, match="did you mean good"):
        methods.get("goood")


def test_options_of_the_worked_example_are_shown_set_and_varied(installed):
    shown = json.loads(bmc("methods", "diagonal-lda", "--json", path=installed).stdout)
    assert [one["name"] for one in shown["options"]] == ["floor"]
    asked = ["sweep", *SMALL, "--method", "diagonal-lda", "--list", "--json"]
    done = bmc(*asked, "--grid", "diagonal-lda.floor=0.001,0.1", path=installed)
    assert [row["changes"] for row in json.loads(done.stdout)] == ["floor=0.001", "floor=0.1"]
    done = bmc(*asked, "--grid", "diagonal-lda.floor=0,0.1", path=installed)
    assert "floor: expected a finite number above 0, got 0" in done.stderr
    assert done.returncode == 2


def test_help_imports_no_package_and_does_not_fail_with_one(packages):
    offer(packages, "broken", {"mine": "loud:Mine"}, loud="print('imported'); raise ValueError")
    done = bmc("--help", path=packages)
    assert done.returncode == 0 and "imported" not in done.stdout and done.stderr == ""


def test_a_name_that_a_method_has_already_is_refused_with_both_places(packages, capsys):
    offer(packages, "taker", {"ncm": "taker:Mine"}, taker=METHOD.format(name="ncm", title="X"))
    for package in ("left", "right"):
        text = METHOD.format(name="same", title=package)
        offer(packages, package, {"same": f"{package}:Mine"}, **{package: text})
    methods = registry()
    assert methods.get("ncm").title == "NCM"
    assert capsys.readouterr().err.splitlines() == [
        "warning: method 'ncm' is named twice: by bmc.methods.ncm:NearestClassMean and by "
        "taker:Mine (taker 1.0); left out.",
        "warning: method 'same' is named twice: by left:Mine (left 1.0) and by right:Mine "
        "(right 1.0); left out.",
    ]
    with pytest.raises(UsageError, match=r"named twice: by left:Mine .* and by right:Mine"):
        methods.get("same")


@pytest.mark.parametrize(
    ("module", "told"),
    [
        (OWN_OPTIONS.format("@dataclass(frozen=True)", "memory: int = option(1, 'M.')"),
         "other names than those that methods share, ['memory']"),
        (OWN_OPTIONS.format("", "a: int = option(1, 'A.')"), "expected its Options to be a datac"),
        (OWN_OPTIONS.format("@dataclass(frozen=True)", "a: int = option(1, 'A.')").replace(
            "Options(Method.Options)", "Options"), "expected its Options to derive from"),
        (OWN_OPTIONS.format("@dataclass(frozen=True)", "a: int = 1"), "declared by option(...)"),
        ("Mine = 3", "expected a subclass of Method, got 3"),
        (METHOD.format(name="other", title="T"), "name = 'mine' in its class, got 'other'"),
        (METHOD.format(name="mine", title="NCM"), "title of its own, got 'NCM', that of 'ncm'"),
        (METHOD.format(name="mine", title="T").replace("def state", "def states"),
         "expected its class to define 'state'"),
        (METHOD.format(name="mine", title="T").replace("name, title", "name, tilte"),
         "expected its class to define 'title'"),
    ],
)  # fmt: skip
def test_a_class_that_is_no_method_is_told_what_it_lacks(packages, capsys, module, told):
    named = f"wrong_{abs(hash(told))}"  # a module is imported once in a process
    offer(packages, named, {"mine": f"{named}:Mine"}, **{named: module})
    assert registry().names() == ["ncm"]
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"warning: method 'mine' of {named}:Mine ({named} 1.0) cannot be used: ")
    assert told in line


@pytest.mark.parametrize("given", [NCM, "mine.py", "mine:Mine"])
def test_a_class_or_a_file_in_place_of_a_name_tells_how_a_method_gets_one(given):
    shown = "the class NearestClassMean" if given is NCM else f"'{given}'"
    with pytest.raises(
        UsageError, match=f"expected the name of a method, got {shown}; .*own_method"
    ):
        registry().get(given)


def test_all_that_a_class_lacks_is_told_at_once(packages):
    text = METHOD.format(name="bare", title="Bare").partition("    def ")[0] + "    pass\n"
    offer(packages, "bare", {"bare": "bare:Mine"}, bare=text)
    lacking = ", ".join(f"'{key}'" for key in METHODS.needed[2:])
    with pytest.raises(UsageError, match=f"expected its class to define {lacking}; nothing"):
        registry().get("bare")
