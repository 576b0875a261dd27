"""The documentation: every block runs, or is checked for what it calls; formats are complete."""

import ast
import os
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from functools import cache
from pathlib import Path

import pytest
import yaml
from typer.main import get_command
from warm import environment

from autods.manifest.catalogue import Catalogue

REPOSITORY = Path(__file__).resolve().parent.parent
DOCS = REPOSITORY / "docs"
FENCE = re.compile(r"^```([^\n]*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
LANGUAGES = {"sh", "python", "yaml", "toml", "text"}
FILE = re.compile(r"[\w.-]+\.[a-z]+")  # a block whose title is a file's name is that file

# What a block may need that a test has not; its commands are only checked. Sizes are chosen in
# the documents themselves, so that all else runs as it stands there.
NEEDS = {
    "needs a network", "needs a GPU", "needs a cluster", "needs an extra", "needs the data",
    "needs a checkout", "takes minutes", "takes hours",
}  # fmt: skip

# What the test changes in commands of the README, and why.
SMALLER = {
    # no network: random weights instead of published ones, and a small model
    "--model ViT-B-32": "--model timm:test_efficientnet --random-weights 0",
    "ViT-B-32.laion2b_s34b_b79k": "timm-test_efficientnet.r160_in1k.random-0",
    # two short tasks instead of 71
    "--max-tasks 4 --epochs 2 ": "",
    "--stream synthetic": "--stream synthetic --max-tasks 2 --epochs 1",
    # a process for each run
    "bmc-analytic,bmc,er,slda --order 0..2": "bmc-analytic,slda --order 0,1",
}


def pages() -> list[Path]:
    return [REPOSITORY / "README.md", *sorted(DOCS.glob("*.md")), *sorted(DOCS.glob("*/*.md"))]


def blocks(page: Path) -> list[tuple[str, str, str]]:
    """Return language, title and text of each block."""
    found = []
    for information, text in FENCE.findall(page.read_text(encoding="utf-8")):
        language, _, rest = information.partition(" ")
        title = re.fullmatch(r'title="([^"]+)"', rest.strip())
        found.append((language, title[1] if title else rest, text))
    return found


RUN = [
    page
    for page in pages()
    if page.name != "tour.md"  # tests/test_notebook.py runs the notebook that it shows
    and any(lang in ("sh", "python") and title not in NEEDS for lang, title, _ in blocks(page))
]


@pytest.fixture
def checkout(tmp_path):
    """A fresh folder that has of the checkout what documents name, and some data for the README."""
    for name in ("scripts", "docs", "pyproject.toml", "README.md"):
        (tmp_path / name).symlink_to(REPOSITORY / name)
    return tmp_path


@pytest.mark.parametrize("page", pages(), ids=lambda page: page.stem)
def test_every_block_says_what_it_is(page):
    for language, title, text in blocks(page):
        assert language in LANGUAGES, f"{page.name}: ```{language} of {text[:40]!r}"
        assert not title or title in NEEDS or FILE.fullmatch(title), f"{page.name}: {title}"


@pytest.mark.parametrize("page", RUN, ids=lambda page: page.stem)
def test_the_blocks_of_a_page_run_in_their_order_in_one_folder(page, checkout):
    variables = {"OMP_NUM_THREADS": "1", "AUTODS_ROOT": str(checkout / "user-data")}
    for language, title, text in blocks(page):
        if title and FILE.fullmatch(title):
            (checkout / title).write_text(text, encoding="utf-8")
        elif language == "yaml":
            assert yaml.safe_load(text) is not None
        elif language == "toml":
            assert tomllib.loads(text)
        elif language in ("sh", "python") and not title:
            if page.name == "README.md":
                data_of_the_readme(checkout)
                for before, after in SMALLER.items():
                    text = text.replace(before, after)  # noqa: PLW2901 - the block that runs
            command = ["bash", "-euc", text] if language == "sh" else ["python", "-c", text]
            done = subprocess.run(
                command, cwd=checkout, text=True, capture_output=True, timeout=300, check=False,
                env={**environment(), **variables},
            )  # fmt: skip
            assert done.returncode == 0, f"{page.name}:\n{text}\n{done.stdout}\n{done.stderr}"
            variables |= exported(text)


def exported(text: str) -> dict[str, str]:
    """Return what a block exports: the next block of a page is the same terminal."""
    lines = re.findall(r"^export (.*)$", text, re.MULTILINE)
    return dict(word.split("=", 1) for line in lines for word in shlex.split(line))


def data_of_the_readme(folder: Path) -> None:
    """Make the reader's own images and features."""
    import numpy as np
    from PIL import Image

    if (folder / "pictures").exists():
        return
    rng = np.random.default_rng(0)
    for label in range(4):
        (folder / "pictures" / "pets" / f"pet{label}").mkdir(parents=True)
        for number in range(6):
            pixels = rng.integers(0, 60 * (label + 1), (16, 16, 3), dtype=np.uint8)
            target = folder / "pictures" / "pets" / f"pet{label}" / f"{number}.png"
            Image.fromarray(pixels).save(target)
    (folder / "features").mkdir()
    x, y = rng.normal(size=(60, 16)).astype("float16"), np.arange(60, dtype="int32") % 6
    names = np.array([f"class{i}" for i in range(6)])
    np.savez(
        folder / "features" / "mine.npz",
        x_train=x + y[:, None], y_train=y, x_val=x + y[:, None] + 0.1, y_val=y, class_names=names,
    )  # fmt: skip


def commands_of(text: str) -> list[list[str]]:
    """Return the simple commands of a shell block as words, without what Slurm puts before."""
    found = []
    for line in re.split(r"\n|&&|\|(?!\|)|;", text.replace("\\\n", " ")):
        try:
            words = shlex.split(line, comments=True)
        except ValueError:  # a quote that spans what was split: no command of ours
            continue
        while words and re.fullmatch(r"[A-Z_]+=.*", words[0]):
            words = words[1:]
        if words:
            found.append(words)
    return found


@pytest.mark.parametrize("page", pages(), ids=lambda page: page.stem)
def test_every_command_of_a_page_exists_with_its_options(page):
    for language, _, text in blocks(page):
        if language != "sh":
            continue
        checked = subprocess.run(["bash", "-n"], input=text, text=True, check=False)
        assert checked.returncode == 0, text
        for program, *words in commands_of(text):
            if program in ("autods", "bmc-stream"):
                parse(groups()[program], words, program)
            elif program.startswith("python") and words and words[0].endswith(".py"):
                script = REPOSITORY / words[0]
                if script.exists() or words[0].startswith(("scripts/", "docs/")):
                    source = script.read_text(encoding="utf-8")
                    for option in (word for word in words if re.fullmatch(r"--[a-z-]+", word)):
                        assert option in source, f"{words[0]} has no {option}"


@cache
def groups():
    """Return the commands of both programs."""
    from autods.cli.app import app
    from bmc.cli.app import app as bmc_app

    return {"autods": get_command(app), "bmc-stream": get_command(bmc_app)}


def parse(group, words: list[str], program: str) -> None:
    """Parse a command line as the program does, and do not run it."""
    while hasattr(group, "commands"):
        name, *words = words
        assert name in group.commands, f"{program} has no command {name}"
        group = group.commands[name]
    group.make_context(program, list(words))


def test_the_formats_name_every_key_that_a_run_writes(tmp_path):
    described = set(re.findall(r"`([^`\n]+)`", (DOCS / "formats.md").read_text(encoding="utf-8")))
    command = "bmc-stream run --scenario class-il --max-tasks 2 --epochs 1 --out ."
    subprocess.run(
        ["bash", "-euc", command], cwd=tmp_path, check=True, capture_output=True,
        env=environment(),
    )  # fmt: skip
    found = set()
    for name in ("config", "results", "timing"):
        (path,) = tmp_path.rglob(f"{name}.json")
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
        found |= content.keys() | content.get("costs", {}).keys()
        found |= {key for task in content.get("tasks", []) for key in task}
    assert found - described == set()


def test_the_formats_name_every_attribute_of_a_shard(tmp_path):
    from autods.features import shards

    tree = ast.parse(Path(shards.__file__).read_text(encoding="utf-8"))
    fields = [
        line.target.id
        for node in tree.body
        if isinstance(node, ast.ClassDef) and node.name in ("ShardInfo", "ShardData")
        for line in node.body
        if isinstance(line, ast.AnnAssign)
    ]
    described = re.findall(r"`([^`\n]+)`", (DOCS / "formats.md").read_text(encoding="utf-8"))
    assert set(fields) - {"labels", "splits"} - set(described) == set()
    assert {"labels/TASK", "splits/PROTOCOL"} <= set(described)


def test_every_file_the_readme_points_to_exists():
    text = (REPOSITORY / "README.md").read_text(encoding="utf-8")
    for target in re.findall(r"\]\(([^)#:]+)\)", text):
        assert (REPOSITORY / target).exists(), target
    for name in re.findall(r"^\| `([^`]+)` \|", text, re.MULTILINE):
        assert (REPOSITORY / name).exists(), name
    for script in re.findall(r"scripts/\w+\.sh", text):
        assert os.access(REPOSITORY / script, os.X_OK), script


def test_every_address_is_well_formed():
    for page in pages():
        for address in re.findall(r"https?://[^\s)>\"'`]+", page.read_text(encoding="utf-8")):
            assert re.fullmatch(r"https?://[\w.-]+\.\w+(:\d+)?(/[\w./~%?&=#+:@,;-]*)?", address)


def test_the_pages_made_from_code_and_manifests_are_what_the_script_writes(tmp_path):
    program = (
        "import sys, pathlib, pages; print(*pages.write(pathlib.Path(sys.argv[1])), sep='\\n')"
    )
    copy = tmp_path / "docs"
    shutil.copytree(DOCS, copy)
    done = subprocess.run(
        [sys.executable, "-c", program, copy],
        cwd=DOCS / "build", capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout.split() == [], "run: python docs/build/pages.py"


def test_every_link_of_a_page_that_is_read_as_a_file_leads_to_one():
    dead = []
    for page in [*pages(), REPOSITORY / "CONTRIBUTING.md"]:
        text = re.sub(r"^```.*?^```$", "", page.read_text(encoding="utf-8"), flags=re.M | re.S)
        for target in re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", text):
            if not re.match(r"https?:|mailto:", target) and not (page.parent / target).exists():
                dead.append(f"{page.relative_to(REPOSITORY)}: {target}")
    assert dead == []


def test_stream71_is_the_published_shape_in_the_published_order():
    shape = REPOSITORY / "manifests" / "shapes" / "stream71.yaml"
    published = yaml.safe_load(shape.read_text(encoding="utf-8"))["datasets"]
    catalogue = Catalogue()
    stream = [item.dataset for item in catalogue.stream("stream71").datasets]
    assert stream == [entry["name"] for entry in published]
    for entry in published:
        expected = catalogue.dataset(entry["name"]).expected
        for key, known in (
            ("classes", expected.classes),
            ("train", expected.published_train),
            ("test", expected.published_test),
        ):
            if known is not None:
                assert entry[key] == known, (entry["name"], key)
