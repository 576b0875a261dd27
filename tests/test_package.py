"""The package as users get it: built, installed without the checkout, and tried from elsewhere.

What it depends on is taken from this environment; `autods` and `bmc` come from the wheel only.
"""

import json
import os
import re
import subprocess
import sys
import sysconfig
import tarfile
import time
import venv
import zipfile
from pathlib import Path

import pytest
import yaml
from PIL import Image

from autods import __version__
from autods.cli.complete import datasets, streams
from autods.core.extras import EXTRAS
from autods.manifest.catalogue import Catalogue
from bmc.cli.complete import methods
from bmc.methods import METHODS

REPOSITORY = Path(__file__).resolve().parents[1]
COMMANDS = ("autods", "bmc-stream")


def run(*command: str | Path, folder: Path, **environment: str) -> str:
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("AUTODS_", "PYTHON"))}
    done = subprocess.run(
        list(map(str, command)),
        cwd=folder,
        env={**kept, "OMP_NUM_THREADS": "1", **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def build(source: Path, out: Path, *options: str) -> None:
    run(sys.executable, "-m", "hatchling", "build", "-d", out, *options, folder=source)


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of the wheel and the sdist."""
    out = tmp_path_factory.mktemp("dist")
    build(REPOSITORY, out)
    return out


@pytest.fixture(scope="module")
def wheel(built: Path) -> Path:
    (found,) = built.glob("*.whl")
    return found


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return an environment that has the wheel, and from elsewhere what it depends on."""
    place = tmp_path_factory.mktemp("environment")
    venv.create(place, with_pip=False, symlinks=True)
    python = place / "bin" / "python"
    pip = [sys.executable, "-m", "pip", "--python", python, "install", "--quiet"]
    run(*pip, "--no-deps", "--no-index", "--no-compile", wheel, folder=place)
    purelib = run(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))",
                  folder=place)  # fmt: skip
    # A folder named here is searched last, and its own .pth files (the checkout's) are not read.
    Path(purelib.strip(), "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return place


def contents(wheel: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(wheel) as file:
        return {name: file.read(name) for name in file.namelist()}


def test_the_wheel_holds_what_the_code_reads_and_the_marks_of_typed_packages(wheel):
    found = contents(wheel)
    for name in ("autods/py.typed", "bmc/py.typed", "bmc/report/page.css",
                 "bmc/report/page.html.jinja", "bmc/report/page.js", "bmc/report/tables.js",
                 "bmc/report/answers.html.jinja", "bmc/report/tables.html.jinja",
                 "bmc/report/section.html.jinja", "autods/pages/page.css",
                 "autods/pages/base.html.jinja", "autods/pages/audit.html.jinja",
                 "autods/pages/map.html.jinja", "autods/pages/preview.html.jinja",
                 "autods/pages/probe.html.jinja", "autods/pages/shot.html.jinja"):  # fmt: skip
        assert name in found
    shipped = {
        path.relative_to(REPOSITORY / "manifests").as_posix(): path.read_bytes()
        for path in (REPOSITORY / "manifests").rglob("*")
        if path.is_file()
    }
    assert len(shipped) > 71
    assert shipped == {
        name.removeprefix("autods/_manifests/"): data
        for name, data in found.items()
        if name.startswith("autods/_manifests/")
    }
    tops = {name.split("/")[0] for name in found}
    assert tops == {"autods", "bmc", f"autods_bmc-{__version__}.dist-info"}


def test_the_sdist_builds_the_same_wheel(built, wheel, tmp_path):
    (sdist,) = built.glob("*.tar.gz")
    with tarfile.open(sdist) as file:
        file.extractall(tmp_path, filter="data")
    (source,) = tmp_path.iterdir()
    for name in ("CITATION.cff", "LICENSE", "README.md", "tests/test_package.py"):
        assert (source / name).is_file()
    build(source, tmp_path / "dist", "-t", "wheel")
    (again,) = (tmp_path / "dist").glob("*.whl")
    assert contents(again) == contents(wheel)


def test_the_installed_commands_work_outside_the_checkout(installed, tmp_path):
    autods, bmc_stream = (installed / "bin" / name for name in COMMANDS)
    python, root = installed / "bin" / "python", tmp_path / "root"
    code = "import autods, bmc; print(autods.__file__, bmc.__file__, sep='\\n')"
    for line in run(python, "-c", code, folder=tmp_path).split():
        assert Path(line).is_relative_to(installed)
        assert Path(line).with_name("py.typed").is_file()
    assert "extract" in run(autods, "--help", folder=tmp_path)
    listed = json.loads(run(autods, "list", "--json", folder=tmp_path, AUTODS_ROOT=str(root)))
    assert [row["name"] for row in listed] == Catalogue().datasets()
    assert "Aircraft" in run(autods, "info", "aircraft", folder=tmp_path, AUTODS_ROOT=str(root))
    options = ["--scenario", "class-il", "--stream", "synthetic", "--max-tasks", "3"]
    printed = run(bmc_stream, "run", *options, "--epochs", "1", "--out", "runs", folder=tmp_path)
    assert "Report: " in printed
    page = (tmp_path / "runs" / "report.html").read_text("utf-8")
    css = (REPOSITORY / "bmc" / "report" / "page.css").read_text("utf-8")
    assert css.splitlines()[0] in page


@pytest.mark.parametrize("command", COMMANDS)
def test_the_version_comes_with_the_environment_at_once(installed, tmp_path, command):
    root = str(tmp_path / "root")
    lines = run(
        installed / "bin" / command, "--version", folder=tmp_path, AUTODS_ROOT=root
    ).splitlines()
    assert lines[0] == f"{command} {__version__}"
    rows = dict(line.split("  ", 1) for line in lines[1:])
    rows = {key: value.strip() for key, value in rows.items()}
    assert rows["python"].split()[0] == sys.version.split()[0]
    assert rows["data root"] == f"{root} (AUTODS_ROOT)"
    for package in ("torch", "open_clip_torch", "h5py", "numpy", "pillow", "platform", "CUDA"):
        assert rows[package]
    loaded = imported(command, ["--version"], tmp_path)
    assert not loaded & {"torch", "numpy", "pydantic"}


def imported(command: str, arguments: list[str], folder: Path, **environment: str) -> set[str]:
    """Return the top modules that a command had imported when it ended."""
    module = {"autods": "autods.cli.app", "bmc-stream": "bmc.cli.app"}[command]
    code = (
        f"import atexit, sys; sys.argv = {[command, *arguments]!r}\n"
        "atexit.register(lambda: print('modules', *sys.modules, file=sys.stdout))\n"
        f"from {module} import main; main()"
    )
    printed = run(sys.executable, "-c", code, folder=folder, **environment)
    last = next(line for line in printed.splitlines() if line.startswith("modules "))
    return {name.split(".")[0] for name in last.split()[1:]}


def completed(command: str, words: str, folder: Path) -> list[str]:
    variable = f"_{command.upper().replace('-', '_')}_COMPLETE"
    words = f"{command} {words}"
    asked = {variable: "complete_bash", "COMP_WORDS": words}
    asked["COMP_CWORD"] = str(len(words.split(" ")) - 1)
    assert not imported(command, [], folder, **asked) & {"torch", "numpy", "rich"}
    found = run(Path(sys.executable).with_name(command), folder=folder, **asked)
    return found.split()


def test_the_shell_completes_names_of_datasets_streams_and_methods(tmp_path):
    assert completed("autods", "info air", tmp_path) == ["aircraft"]
    assert completed("autods", "fetch dtd air", tmp_path) == ["aircraft"]
    assert completed("bmc-stream", "run --method bmc,fine", tmp_path) == ["bmc,finetune"]
    assert completed("bmc-stream", "run --stream stream7", tmp_path) == ["stream71"]


def test_what_completes_is_what_there_is(monkeypatch, tmp_path):
    assert datasets("") == Catalogue().datasets()
    assert streams("") == sorted({*Catalogue().streams(), *Catalogue().datasets(), "synthetic"})
    assert methods("") == sorted({*METHODS.names(), "all"})
    assert streams("dtd,split-cifar") == ["dtd,split-cifar100"]
    assert "bmc,bmc" not in methods("bmc,b")
    (tmp_path / "own.yaml").write_text("")
    monkeypatch.setenv("AUTODS_MANIFESTS", str(tmp_path))
    assert datasets("ow") == ["own"]


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_script_for_a_shell_names_the_command(tmp_path, command, shell):
    place = Path(sys.executable).with_name(command)
    variable = f"_{command.upper().replace('-', '_')}_COMPLETE"
    began = time.monotonic()
    script = run(place, folder=tmp_path, **{variable: f"source_{shell}"})
    assert command in script
    assert time.monotonic() - began < 10


def test_the_citation_names_this_version_and_the_paper():
    cited = yaml.safe_load((REPOSITORY / "CITATION.cff").read_text("utf-8"))
    assert (cited["cff-version"], cited["version"]) == ("1.2.0", __version__)
    paper = cited["preferred-citation"]
    assert [a["family-names"] for a in paper["authors"]] == ["Fostiropoulos", "Zhu", "Itti"]
    assert paper["title"] in " ".join(Catalogue().stream("stream71").model_dump_json().split("\\n"))


LIGHT = """
import sys
from autods.core.extras import OPTIONAL
# as if none were installed; but pyarrow looks for pandas by itself
sys.modules.update(dict.fromkeys(OPTIONAL - {{"pandas"}}))
from {program}.cli.app import main
sys.argv[1:] = {arguments!r}
main()
"""


def test_without_extras_datasets_are_fetched_and_other_commands_name_the_extra(tmp_path):
    def light(program: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-c", LIGHT.format(program=program, arguments=list(arguments))],
            env={**os.environ, "AUTODS_ROOT": "root", "AUTODS_MANIFESTS": "manifests"},
            cwd=tmp_path, text=True, capture_output=True, check=False,
        )  # fmt: skip

    for name in ("cat/1.png", "cat/2.png", "cat/3.png", "dog/1.png", "dog/2.png", "dog/3.png"):
        path = tmp_path / "pictures" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (8, 8), f"#{int(name[4]) * 111:06}").save(path)
    new = ["new", "pets", "--folder", "pictures", "--out", "manifests"]
    drawn = ["preview", "pets", "--out", "pets.png"]
    for command in (new, ["fetch", "pets"], ["index", "pets"], ["verify", "pets"], drawn):
        done = light("autods", *command)
        assert done.returncode == 0, done.stderr
    for program, extra, command in (
        ("autods", "extract", ["extract", "pets"]),
        ("autods", "report", ["preview", "pets", "--out", "pets.html"]),
        ("bmc", "train", ["run", "--scenario", "class-il"]),
    ):
        done = light(program, *command)
        assert done.returncode == 2
        assert done.stderr.endswith(f"pip install 'autods-bmc[{extra}]'\n")
        assert done.stderr.count("\n") == 1


def test_the_light_core_asks_for_no_torch_and_every_extra_that_is_named_exists(wheel):
    metadata = contents(wheel)[f"autods_bmc-{__version__}.dist-info/METADATA"].decode()
    needed = [line for line in metadata.splitlines() if line.startswith("Requires-Dist: ")]
    core = {line.split()[1].split(">")[0] for line in needed if "extra ==" not in line}
    assert not core & {"torch", "timm", "open-clip-torch", "pandas", "altair", "safetensors"}
    assert {*EXTRAS, "train", "all"} <= set(re.findall("Provides-Extra: (.*)", metadata))
