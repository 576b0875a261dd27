"""The published experiment as a real command, over tiny features in the published layout."""

import csv
import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from commands import bmc_stream
from published_archive import simple_sets, write_dataset

from autods.core.root import DataRoot
from autods.errors import FeaturesMissing, UnknownName
from autods.interop.published import import_published, load_archive
from autods.manifest.catalogue import Catalogue
from bmc.cli.study import carry_out
from bmc.methods import METHODS as REGISTRY
from bmc.studies import engine
from bmc.studies.differences import DIFFERENCES, differences
from bmc.studies.engine import RunsFailed
from bmc.studies.execute import attempt
from bmc.studies.options import StudyOptions
from bmc.studies.presets import Preset, preset_names, read_preset
from bmc.studies.published import EXPERIMENTS, METHODS, check_features, published_methods
from bmc.studies.reproduce import reproduce_study

REPOSITORY = Path(__file__).resolve().parents[3]


def reproduce(*arguments: object, cwd: Path) -> tuple[int, str, str]:
    return bmc_stream("reproduce", *arguments, cwd=cwd)


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> Path:
    """A data root with 24 training and 8 test features of the first 4 datasets, as published.

    The others are copies: no trial here opens them, but all must be there.
    """
    folder = tmp_path_factory.mktemp("reproduce")
    (folder / "in").mkdir()
    names = [item.dataset for item in Catalogue().stream("stream71").datasets]
    for number, name in enumerate(names[:4]):
        write_dataset(folder / "in", name, simple_sets(2, 24, 8, name), dim=8, seed=number)
    root = DataRoot.open(folder / "root")
    outcome = import_published(folder / "in", root)
    assert outcome.encoder == EXPERIMENTS["stream-clip"].encoder
    for name in names[4:]:
        shutil.copytree(
            root.features(outcome.encoder, names[0]), root.features(outcome.encoder, name)
        )
    return folder / "root"


@pytest.fixture(scope="module")
def done(root, tmp_path_factory) -> tuple[Path, str]:
    """A finished trial of three methods, and what it printed."""
    folder = tmp_path_factory.mktemp("done")
    code, out, told = reproduce("stream-clip", "--method", "er,bmc", "--max-tasks", 2, "--root",
                                root, "--jobs", 2, "--out", "o", cwd=folder)  # fmt: skip
    assert code == 0, told
    return folder / "o", out


def test_ours_stand_beside_the_published_figures_and_a_dash_where_there_are_none(done):
    folder, printed = done
    rows = {
        row["method"]: row for row in json.loads((folder / "reproduce.json").read_text())["rows"]
    }
    assert set(rows) == {"bmc", "er", "finetune"}
    assert rows["bmc"]["class_il_published"] == 0.704
    assert rows["bmc"]["cost_accuracy_published"] == 6.27
    assert rows["bmc"]["relative_time_published"] == 0.78
    assert rows["er"]["class_il_published"] == 0.414
    assert rows["er"]["relative_time_published"] is None
    assert all(0 < row["class_il_mean"] <= 1 for row in rows.values())
    assert rows["finetune"]["relative_time_mean"] == 1
    lines = {line.split("  ")[0].strip(): line.split() for line in printed.splitlines()}
    assert {"70.4", "6.27", "78"} <= set(lines["BMC"])
    assert lines["Experience replay"].count("-") == 2
    assert "41.4" in lines["Experience replay"]
    assert max(map(len, printed.splitlines()[:-2])) <= 100
    table = {row["method"]: row for row in csv.DictReader((folder / "reproduce.csv").open())}
    assert table["bmc"]["class_il_published"] == "0.704"
    assert table["finetune"]["class_il_published"] == ""


def test_what_is_not_as_published_is_printed_written_and_in_the_report(done):
    folder, printed = done
    made = json.loads((folder / "reproduce.json").read_text())
    preset = read_preset("published-code")
    assert made["preset"] == preset.name
    assert made["differences"] == differences(preset, ["bmc", "er", "finetune"])
    words = " ".join(printed.split())
    page = " ".join((folder / "report.html").read_text().split())
    figures = "bmc class-il 70.4 %, cost accuracy 6.27, relative time 78 %; er class-il 41.4 %"
    for text in (
        "is held out and not trained on",
        "offered to the memory in one pass",
        "2 of 71 tasks: not the published",
        figures,
    ):
        assert text in words
        assert text in page
    assert "CIFAR-100" not in words  # that of DMC, which was not run


def results_of(folder: Path, method: str) -> dict:
    (path,) = folder.glob(f"{method}-order-paper-seed-0-*/results.json")
    return json.loads(path.read_text())


def test_runs_have_the_published_settings_order_and_protocol(done):
    folder, _ = done
    results = results_of(folder, "bmc")
    assert [task["name"] for task in results["tasks"]] == ["aircraft", "apparel"]
    assert results["protocol"] == "paper"
    assert results["scenario"] == "class-il"
    config = results["config"] | results["config"]["options"]
    expected = {"epochs": 20, "learning_rate": 0.01, "memory": 10_000, "outputs": "all",
                "beta": 0.0, "mixup": 0.6, "consolidation_epochs": 100, "experts": 1}  # fmt: skip
    assert {name: config[name] for name in expected} == expected
    assert results_of(folder, "finetune")["config"]["options"] == {"restart": True}


def test_a_finished_reproduction_is_kept_with_resume_and_extended_by_a_method(done, root):
    folder, _ = done
    kept = {path: path.read_bytes() for path in folder.rglob("timing.json")}
    arguments = ["stream-clip", "--max-tasks", 2, "--root", root, "--out", "o"]
    code, _, told = reproduce(*arguments, "--method", "er", cwd=folder.parent)
    assert code == 1
    assert "Add --resume" in told
    code, out, told = reproduce(*arguments, "--method", "er,bmc,der", "--resume", "--json",
                                cwd=folder.parent)  # fmt: skip
    assert code == 0, told
    assert {row["method"] for row in json.loads(out)["rows"]} == {"bmc", "der", "er", "finetune"}
    assert all(path.read_bytes() == content for path, content in kept.items())


def test_without_features_the_command_names_the_commands_that_get_them(tmp_path):
    code, out, told = reproduce("stream-clip", "--root", "nothing", cwd=tmp_path)
    assert (code, out) == (1, "")
    assert f"autods fetch --features stream-clip --root {tmp_path / 'nothing'}" in told
    assert "71 of them have none" in told
    assert "Traceback" not in told
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    ("name", "dataset"), [("split-cifar100", "cifar100"), ("split-tinyimagenet", "tinyimagenet")]
)
def test_the_splits_name_their_dataset_and_the_encoder_that_is_asked_for(name, dataset, tmp_path):
    place = DataRoot.open(tmp_path)
    with pytest.raises(FeaturesMissing) as caught:
        check_features(EXPERIMENTS[name], "ViT-B-32.laion2b", place)
    lines = str(caught.value).splitlines()
    assert lines[1] == f"  autods fetch {dataset} --root {place.path}"
    assert lines[2] == (
        f"  autods extract {dataset} --model ViT-B-32 --pretrained laion2b --root {place.path}"
    )
    assert EXPERIMENTS[name].figures == {}


def test_the_experiment_reads_what_the_import_of_the_published_archive_writes():
    experiment = EXPERIMENTS["stream-clip"]
    archive = load_archive(experiment.name)
    assert archive.extractors[archive.extractor].encoder == experiment.encoder
    assert len(Catalogue().stream(experiment.stream).datasets) == experiment.tasks == 71


def test_all_twenty_published_methods_are_registered_and_differences_are_about_them():
    assert len(METHODS) == 20
    assert set(METHODS) <= set(REGISTRY.names())
    assert all(difference.why for difference in DIFFERENCES)
    concerned = {method for difference in DIFFERENCES for method in difference.methods}
    assert concerned <= set(METHODS)


def test_what_a_preset_decides_differs_only_for_the_preset_that_decides_otherwise():
    decided = [difference for difference in DIFFERENCES if difference.unless]
    assert len(decided) == 10
    code, paper = map(read_preset, ("published-code", "paper"))
    for difference in decided:
        assert difference.concerned(code, METHODS) == []
        assert difference.concerned(paper, METHODS)
    assert decided[1].text in " ".join(differences(paper, ["bmc", "er"]))
    assert decided[1].text not in " ".join(differences(paper, ["er"]))


def test_fine_tuning_is_run_once_for_each_seed_whatever_is_asked_for(root, tmp_path):
    asked = ["stream-clip", "--max-tasks", 4, "--root", root, "--seeds", 2, "--list", "--json"]
    for methods, runs in (("finetune,bmc", 4), ("er", 4), ("finetune", 2)):
        _, out, _ = reproduce(*asked, "--method", methods, cwd=tmp_path)
        names = [row["run"].rpartition("-")[0] for row in json.loads(out)]
        assert len(names) == runs
        assert {"finetune-order-paper-seed-0", "finetune-order-paper-seed-1"} <= set(names)


def test_methods_that_were_not_published_are_refused():
    assert published_methods("all") == list(METHODS)
    assert published_methods("er,er,bmc") == ["er", "bmc"]
    with pytest.raises(UnknownName, match="unknown published method 'slda'"):
        published_methods("slda")


def test_the_documentation_lists_the_differences_of_both_presets():
    page = " ".join((REPOSITORY / "docs" / "comparing.md").read_text(encoding="utf-8").split())
    for difference in DIFFERENCES:
        names = ", ".join(f"`{name}`" for name in difference.methods)
        assert f"- {names}: {difference.text}" in page if names else f"- {difference.text}" in page
    for name in preset_names():
        assert f"`{name}`" in page


def test_a_published_method_that_diverges_is_told_and_not_ranked(root, tmp_path, monkeypatch):
    def absurd(name: str) -> Preset:
        preset = read_preset(name)
        methods = {**preset.methods, "er": {**preset.methods["er"], "learning_rate": 1e30}}
        return replace(preset, methods=methods)

    monkeypatch.setattr("bmc.studies.reproduce.read_preset", absurd)
    monkeypatch.setattr("bmc.cli.study.write_config", lambda path: None)  # no command runs
    monkeypatch.setattr(engine, "runner_of", lambda *_: lambda jobs: map(attempt, jobs))
    study = reproduce_study("stream-clip", methods="er,gdumb", max_tasks=2, root=root)
    with pytest.raises(RunsFailed, match="1 of 3 runs diverged, the others are finished"):
        carry_out(study, StudyOptions(out=tmp_path))
    data = json.loads((tmp_path / "reproduce.json").read_text())
    assert {row["method"] for row in data["rows"]} == {"gdumb", "finetune"}
    assert "er diverged" in next(iter(data["diverged"].values()))
    assert "diverged" in (tmp_path / "report.html").read_text()
    rows = list(csv.DictReader((tmp_path / "reproduce.csv").open()))
    assert {row["method"] for row in rows} == {"gdumb", "finetune"}
