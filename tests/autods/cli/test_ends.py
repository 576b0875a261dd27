"""How commands end: what is next, what was left out; how help shows options, what is missing."""

import re

import numpy as np
import pytest
from feature_tools import write_set
from PIL import Image
from typer.main import get_command
from typer.testing import CliRunner

from autods.cli.app import app as autods_app
from autods.core.console import AppCommand
from autods.core.root import DataRoot
from autods.errors import AutodsError
from bmc.cli.app import app as bmc_app

ENCODER = "timm-test_efficientnet.r160_in1k.random-0"
MODEL = ["--model", "timm:test_efficientnet", "--random-weights", "0", "--workers", "0"]


def every_command() -> list[tuple[object, tuple[str, ...]]]:
    """Return each command of both programs, groups included, by the words that name it."""
    found = []
    for app in (autods_app, bmc_app):
        found.append((app, ()))
        for name, command in get_command(app).commands.items():
            found.append((app, (name,)))
            found += [(app, (name, below)) for below in getattr(command, "commands", ())]
    return found


def in_words(value: object) -> str:
    """Return a name of a parameter that is the same in every process."""
    if isinstance(value, tuple | list):
        return " ".join(value) or "itself"
    return "autods" if value is autods_app else "bmc-stream"


@pytest.mark.parametrize(("app", "words"), every_command(), ids=in_words)
def test_every_command_shows_its_help_for_h_and_flags_as_flags(app, words, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    short = CliRunner().invoke(app, [*words, "-h"])
    assert short.exit_code == 0
    assert short.output == CliRunner().invoke(app, [*words, "--help"]).output
    assert max(map(len, short.output.splitlines())) <= 80
    assert "--no-json" not in short.output
    assert "<bool>" not in short.output


@pytest.mark.parametrize(
    ("app", "words", "said"),
    [
        (bmc_app, ["run"], "Missing option '--scenario'. Expected: class-il or task-il"),
        (bmc_app, ["compare", "--scenario"], "requires an argument. Expected: class-il or task-il"),
        (bmc_app, ["tune", "--scenario", "class-il"], "'--grid'. Expected: Values of a shared"),
        (bmc_app, ["reproduce"], "Expected: stream-clip, split-cifar100 or split-tinyimagenet"),
        (autods_app, ["export"], "'--out'. Expected: Folder to export into"),
        (autods_app, ["info"], "Expected: Name of the dataset"),
        (autods_app, ["extract", "--precision"], "Expected: fp32, fp16 or bf16"),
    ],
)
def test_a_missing_option_says_what_it_takes(app, words, said, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    made = CliRunner().invoke(app, words)
    assert made.exit_code == 2
    assert said in " ".join(re.sub("[│╭╮╰╯─]", "", made.output).split())


@pytest.fixture
def called(tmp_path, monkeypatch):
    """Return what calls ``autods`` on a root of its own: standard output, standard error."""
    monkeypatch.setenv("AUTODS_ROOT", str(tmp_path / "root"))
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.chdir(tmp_path)

    def call(*words: object, fails: bool = False) -> tuple[str, str]:
        made = CliRunner().invoke(autods_app, list(map(str, words)))
        assert (made.exit_code != 0) == fails, made.output
        return made.stdout, made.stderr

    return call


def pictures(folder, classes: int) -> None:
    rng = np.random.default_rng(0)
    for label in range(classes):
        (folder / f"c{label}").mkdir(parents=True)
        for number in range(6):
            pixels = rng.integers(0, 255, (8, 8, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / f"c{label}" / f"{number}.png")


def test_each_command_names_the_next_one_from_a_folder_to_a_run(tmp_path, called):
    for name, classes in (("cats", 2), ("dogs", 12)):
        pictures(tmp_path / name, classes)
        called("new", name, "--folder", name)
    (tmp_path / "cats" / "c0" / "0.png").unlink()
    (tmp_path / "cats.yaml").unlink()
    (tmp_path / "cats" / "c0" / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n and no more")
    called("new", "cats", "--folder", "cats")
    assert "Start with `autods fetch NAME`" in called("status")[0]
    _, said = called("fetch", "cats,dogs", "--manifests", ".")
    assert said.endswith("Next: autods extract cats dogs\n")
    assert called("status")[1] == "Next: autods extract cats dogs\n"
    _, said = called("index", "cats", "dogs")
    assert said.endswith("Next: autods extract cats dogs\n")
    assert "(dataset 2 of 2)" in said or "indexing cats" in said
    told, said = called("extract", "dogs", *MODEL)
    run = f"Next: bmc-stream run --scenario class-il --stream dogs --encoder {ENCODER}"
    assert said.endswith(f"{run} --classes-per-task 3\n")
    assert "unreadable" not in told
    told, said = called("extract", "cats,dogs", *MODEL)
    assert "cats: unreadable, left out: images/c0/broken.png (" in told
    assert said.endswith(f"--stream cats,dogs --encoder {ENCODER}\n")
    assert called("status")[1] == said.splitlines(keepends=True)[-1]
    assert called("verify", "-q")[1] == ""
    assert called("extract", "--quiet", *MODEL)[1] == ""
    _, said = called("export", "dogs", "--encoder", ENCODER, "--to", "npz", "--out", "made")
    assert said.endswith('.npz")\n')
    _, said = called("stream", "write", "cats,dogs", "both.yaml", "--encoder", ENCODER)
    assert said == (
        f"Next: bmc-stream run --scenario class-il --stream both.yaml --encoder {ENCODER}\n"
    )


def test_a_command_with_a_root_of_its_own_names_it_in_the_next_one(tmp_path, called):
    pictures(tmp_path / "cats", 2)
    called("new", "cats", "--folder", "cats")
    where = tmp_path / "another root"
    _, said = called("fetch", "cats", "--manifests", ".", "--root", where)
    assert said.endswith(f"Next: autods extract cats --root '{where}'\n")


def test_json_has_no_next_step_beside_it(called):
    for words in (["list", "--json"], ["status", "--json"], ["info", "flowers", "--json"]):
        assert called(*words)[1] == ""


def test_images_used_in_place_are_not_copied_and_never_touched(tmp_path, called):
    pictures(tmp_path / "cats", 2)
    _, said = called("new", "cats", "--folder", "cats", "--in-place")
    assert "The images stay where they are" in said
    before = {path: path.read_bytes() for path in (tmp_path / "cats").rglob("*.png")}
    called("fetch", "cats", "--manifests", ".")
    archive = tmp_path / "root" / "datasets" / "cats" / "archives" / "images"
    assert archive.is_symlink() and archive.resolve() == tmp_path / "cats"
    called("extract", "cats", *MODEL)
    called("fetch", "cats")
    assert "No problem found" in called("verify")[0]

    changed = tmp_path / "cats" / "c0" / "0.png"
    changed.write_bytes(before[tmp_path / "cats" / "c1" / "0.png"])
    assert "is damaged: expected tree:" in called("verify", fails=True)[0]
    called("fetch", "cats", fails=True)
    assert not archive.exists()  # the link is gone
    kept = {path: path.read_bytes() for path in (tmp_path / "cats").rglob("*.png")}
    assert kept == before | {changed: changed.read_bytes()}
    changed.write_bytes(before[changed])
    called("fetch", "cats")
    assert "No problem found" in called("verify")[0]


def test_new_says_that_fetch_copies_and_refuses_in_place_for_the_hub(tmp_path, called):
    pictures(tmp_path / "cats", 2)
    assert "copies the images into the data root" in called("new", "cats", "--folder", "cats")[1]
    called("new", "beans", "--hf", "a/b", "--in-place", fails=True)


def refused(app: object, *words: object) -> str:
    """Return what a command says that refuses; a traceback is none."""
    made = CliRunner().invoke(app, list(map(str, words)))
    assert isinstance(made.exception, AutodsError), made.output
    assert made.exception.exit_code == 2
    return str(made.exception)


@pytest.mark.parametrize(
    ("app", "words", "told"),
    [
        (autods_app, ["mirror", ""], "arguments: expected a value, got an empty text; nothing was"),
        (autods_app, ["index", "--", "cats", ""], "arguments: "),
        (autods_app, ["index", "--root="], "--root: expected"),
        (bmc_app, ["run", "--scenario", "class-il", "--out", ""], "--out: expected"),
        (bmc_app, ["run", "-o", ""], "-o: expected"),
    ],
    ids=in_words,
)
def test_an_empty_variable_of_a_script_means_neither_this_folder_nor_all(app, words, told):
    assert told in refused(app, *words)


def test_every_command_refuses_empty_words():
    for app in (autods_app, bmc_app):
        for command in get_command(app).commands.values():
            for one in getattr(command, "commands", {"": command}).values():
                assert isinstance(one, AppCommand)


@pytest.mark.parametrize("command", ["list", "index", "extract", "verify", "audit", "doctor"])
def test_a_comma_alone_does_not_mean_all_datasets(command, called):
    assert "expected names of datasets, got ','; nothing was done" in refused(
        autods_app, command, ","
    )


@pytest.mark.parametrize(
    ("app", "words"),
    [
        (autods_app, ["export", "cats", "--encoder", "tiny.a", "--out"]),
        (autods_app, ["publish", "--encoder", "tiny.a", "--to"]),
        (autods_app, ["mirror"]),
        (autods_app, ["stream", "write", "flowers"]),
        (autods_app, ["map", "cats", "--out"]),
        (autods_app, ["preview", "cats", "--out"]),
        (autods_app, ["probe", "cats", "--report"]),
        (autods_app, ["audit", "cats", "--report"]),
        (bmc_app, ["run", "--scenario", "class-il", "--out"]),
        (bmc_app, ["report", "runs", "--out"]),
        (bmc_app, ["report", "runs", "--figures"]),
        (bmc_app, ["base", "--out"]),
        (bmc_app, ["expert", "--base", "b", "--dataset", "d", "--out"]),
        (bmc_app, ["consolidate", "b", "m", "--out"]),
    ],
    ids=in_words,
)
def test_a_place_below_a_file_is_refused_before_any_work(app, words, called, tmp_path):
    (tmp_path / "file").write_text("in the way")
    told = refused(app, *words, tmp_path / "file" / "below.yaml")
    assert f"{tmp_path / 'file'} is a file" in told
    assert "nothing was" in told


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["export", "cat", "--encoder", "tiny.a", "--out", "o"], "did you mean cats"),
        (["export", "zz*", "--encoder", "tiny.a", "--out", "o"], "no dataset matches 'zz*'"),
        (["embed-classes", "cat"], "did you mean cats"),
        (["embed-classes", "cats", "--encoder", "tiny.b"], "did you mean tiny.a?"),
        (["publish", "--encoder", "tiny.b", "--to", "o"], "did you mean tiny.a?"),
        (["verify", "--encoder", "tiny.b"], "did you mean tiny.a?"),
        (["audit", "--encoder", "tiny.b"], "did you mean tiny.a?"),
        (["map", "cats", "--encoder", "tiny.b"], "did you mean tiny.a?"),
        (["export", "cats", "--encoder", "tiny.b", "--out", "o"], "did you mean tiny.a?"),
    ],
)
def test_misspelt_names_are_told_with_what_is_here_before_an_encoder_is_loaded(
    words, said, called, tmp_path, monkeypatch
):
    monkeypatch.setattr("autods.encode.encoders.open_clip.load_encoder", None)
    rows = np.ones((2, 4), np.float32), [0, 1]
    write_set(DataRoot(tmp_path / "root"), "cats", {"train": rows, "test": rows})
    assert said in refused(autods_app, *words)


def test_the_schema_of_manifests_says_how_it_is_used_beside_itself(called):
    out, said = called("manifest-schema", "--stream")
    assert out.startswith("{") and out.endswith("}\n")
    assert said.startswith("Next: autods manifest-schema --stream > stream.json\n")
