"""Sites in processes and folders of their own give the numbers of a run, bit for bit."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from commands import bmc_stream, start
from safetensors.torch import load_file
from site_files import first_base, message, next_base

from autods.core.root import DataRoot
from autods.errors import FeaturesMissing, UnknownName, UsageError
from autods.interop.imports.from_files import import_files
from bmc.config import Config
from bmc.runs.choice import StreamChoice
from bmc.sites.consolidate import consolidate
from bmc.sites.evaluate import measure
from bmc.sites.expert import train_expert
from bmc.sites.model import centre_path, open_base
from bmc.sites.plan import make_plan

DIM, ENCODER = 24, "my.own"
CLASSES = {
    "birds": ["owl", "jay", "tit"],
    "boats": ["raft", "punt"],
    "cakes": ["pie", "bun", "tart"],
}
OPTIONS = {
    "bmc": [
        "-o",
        "bmc.experts=2",
        "-o",
        "bmc.buffer=30",
        "-o",
        "bmc.patience=1",
        "-o",
        "bmc.expert_rows=60",
    ],
    "bmc-gaussian": ["-o", "bmc-gaussian.experts=3", "-o", "bmc-gaussian.buffer=30"],
    "bmc-analytic": ["-o", "bmc-analytic.rank=4"],
}
TRAINING = ["--epochs", "2", "--memory", "50", "--seed", "3"]


def features(name: str) -> dict[str, np.ndarray]:
    """Return the features of a dataset, whose classes have an order of its own."""
    rng = np.random.default_rng(sum(map(ord, name)))
    names = sorted(CLASSES[name])
    labels = rng.integers(0, len(names), 150)
    means = rng.normal(size=(len(names), DIM))
    x = (means[labels] + 0.8 * rng.normal(size=(len(labels), DIM))).astype(np.float32)
    return {"x_train": x[:110], "y_train": labels[:110], "x_val": x[110:], "y_val": labels[110:],
            "class_names": np.array(names)}  # fmt: skip


def imported(root: Path, *names: str, as_name: str = "") -> Path:
    """Import datasets into the root of a site."""
    for name in names:
        source = root.parent / f"{root.name}-files" / f"{as_name or name}.npz"
        source.parent.mkdir(parents=True, exist_ok=True)
        np.savez(source, **features(name))
        import_files(source, DataRoot.open(root), ENCODER)
    return root


def definition(path: Path, **changes: object) -> Path:
    """Write what the sites have agreed on: names."""
    datasets = [{"dataset": n, "name": n, "classes": classes} for n, classes in CLASSES.items()]
    spec = {"name": "three", "encoder": ENCODER, "datasets": datasets, **changes}
    path.write_text(yaml.safe_dump(spec, sort_keys=False))
    return path


@pytest.fixture(scope="module")
def sites(tmp_path_factory) -> dict[str, Path]:
    """Three folders, each with the data of one site and nothing else."""
    folders = {name: tmp_path_factory.mktemp(name) for name in CLASSES}
    for name, folder in folders.items():
        imported(folder / "data", name)
    return folders


@pytest.fixture(scope="module")
def everything(tmp_path_factory) -> Path:
    return imported(tmp_path_factory.mktemp("all") / "data", *CLASSES)


@pytest.mark.parametrize("method", OPTIONS)
def test_three_sites_in_three_processes_equal_a_run(method, sites, everything, tmp_path):
    stream = definition(tmp_path / "three.yaml", order=["cakes", "birds", "boats"])
    given = ["--method", method, *OPTIONS[method], *TRAINING, "--stream", stream]
    code, said, wrong = bmc_stream(
        "run", "--scenario", "class-il", *given, "--root", everything, "--out", "runs", cwd=tmp_path
    )
    assert code == 0, wrong
    (results,) = tmp_path.rglob("results.json")

    centre = tmp_path / "centre"
    centre.mkdir()
    code, said, wrong = bmc_stream("base", *given, "--dim", DIM, "--out", "base-0", cwd=centre)
    assert code == 0, wrong
    number = 0
    while learned_next := following(centre / f"base-{number}"):
        expert_processes = []
        for name in learned_next:
            folder = sites[name] / method
            folder.mkdir(exist_ok=True)
            for file in (f"base-{number}", f"{name}.message"):
                (folder / file).unlink(missing_ok=True)
            (folder / f"base-{number}").write_bytes((centre / f"base-{number}").read_bytes())
            expert_processes.append(
                start(
                    "expert", "--base", f"base-{number}", "--dataset", name,
                    "--root", "../data", "--out", f"{name}.message", cwd=folder,
                )
            )  # fmt: skip
        for process, name in zip(expert_processes, learned_next, strict=True):
            _, wrong = process.communicate(timeout=240)
            assert process.returncode == 0, wrong
            sent = sites[name] / method / f"{name}.message"
            (centre / sent.name).write_bytes(sent.read_bytes())
        messages = [f"{name}.message" for name in reversed(learned_next)]  # any order
        code, said, wrong = bmc_stream(
            "consolidate", f"base-{number}", *messages, "--out", f"base-{number + 1}", cwd=centre
        )
        assert code == 0, wrong
        number += 1

    last = centre / f"base-{number}"
    ours = load_file(last) | load_file(centre_path(last))
    theirs = load_file(results.with_name("checkpoint.safetensors"))
    assert ours.keys() == theirs.keys()
    for name, tensor in ours.items():
        assert torch.equal(tensor, theirs[name]), name
    code, said, wrong = bmc_stream(
        "evaluate", last, "--stream", stream, "--root", everything, "--json", cwd=tmp_path
    )
    assert code == 0, wrong
    measured, R = json.loads(said), json.loads(results.read_text())["R"]
    assert [row["task"] for row in measured["tasks"]] == ["cakes", "birds", "boats"]
    for ours_name, name in (("class_il", "class-il"), ("task_il", "task-il")):
        assert [row[ours_name] for row in measured["tasks"]] == R[name][-1]


def following(base: Path) -> list[str]:
    from bmc.sites.plan import group_of

    opened = open_base(base, torch.device("cpu"))
    return [opened.plan.tasks[k].name for k in group_of(opened.method, opened.plan, opened.learned)]


@pytest.fixture
def base(tmp_path) -> Path:
    stream = definition(tmp_path / "three.yaml")
    made = ["base", "--stream", stream, "--dim", DIM, "--out", "base", *TRAINING]
    code, _, wrong = bmc_stream(*made, cwd=tmp_path)
    assert code == 0, wrong
    return tmp_path / "base"


def test_a_site_may_call_its_dataset_otherwise(base, sites, tmp_path):
    root = imported(tmp_path / "data", "boats", as_name="ships")
    own = train_expert(base, "ships", tmp_path / "one", task="boats", root=root)
    theirs = train_expert(base, "boats", tmp_path / "two", root=sites["boats"] / "data")
    assert own.header.classes == ["raft", "punt"]
    assert own.header == theirs.header
    ours, others = load_file(tmp_path / "one"), load_file(tmp_path / "two")
    assert all(torch.equal(ours[name], others[name]) for name in ours)


@pytest.fixture
def learned(base, sites, tmp_path) -> Path:
    """Return a base that has learned its three tasks."""
    for name in CLASSES:
        train_expert(base, name, tmp_path / name, root=sites[name] / "data")
    consolidate(base, [tmp_path / name for name in CLASSES], tmp_path / "learned")
    return tmp_path / "learned"


def test_a_site_that_calls_its_dataset_otherwise_measures_it_alike(learned, sites, tmp_path):
    root = imported(tmp_path / "data", "boats", as_name="ships")
    own = measure(learned, dataset="ships", task="boats", root=root)
    theirs = measure(learned, "boats", root=sites["boats"] / "data")
    assert own == theirs == measure(learned, task="boats", root=sites["boats"] / "data")


def test_a_site_with_more_classes_than_the_base_measures_those_that_it_knows(sites, tmp_path):
    lists = [{"dataset": "birds", "name": "birds", "classes": ["owl", "jay"]}]
    stream = definition(tmp_path / "less.yaml", datasets=lists)
    bmc_stream("base", "--stream", stream, "--dim", DIM, "--out", "base", cwd=tmp_path)
    root = sites["birds"] / "data"
    train_expert(tmp_path / "base", "birds", tmp_path / "m", root=root)
    consolidate(tmp_path / "base", [tmp_path / "m"], tmp_path / "next")
    measured = measure(tmp_path / "next", dataset="birds", root=root)
    assert measured.notes == ["classes that the base does not have were left out: tit"]
    assert 0 < measured.rows[0]["samples"] < 40


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["--dataset", "boats", "--stream", "boats"], "expected a stream or one dataset"),
        (["--task", "boats", "--stream", "boats"], "expected a stream or one dataset"),
        (["--dataset", "ships"], "unknown task of the base 'ships'"),
        (
            ["--dataset", "ships", "--task", "boats"],
            "dataset 'ships' by encoder 'my.own' were not extracted",
        ),
        (["--dataset", "cakes", "--task", "boats"], "unknown class of dataset 'cakes' 'raft'"),
    ],
)
def test_a_dataset_that_cannot_be_measured_is_refused(learned, everything, arguments, text):
    code, said, wrong = bmc_stream(
        "evaluate", learned, "--root", everything, *arguments, cwd=learned.parent
    )
    assert code != 0
    assert said == ""
    assert text in " ".join(wrong.split())


def test_a_task_that_is_not_learned_yet_is_not_measured(tmp_path):
    first = first_base(tmp_path / "base")
    made = next_base(first, message(first, "aircraft"), message(first, "apparel"))
    assert made.taken == ["aircraft", "apparel"]
    later = next(path for path in tmp_path.glob("next-*") if path.suffix == "")
    with pytest.raises(UsageError, match="has not learned task 'aptos2019' yet"):
        measure(later, task="aptos2019")


def test_a_site_without_a_class_or_without_the_data_is_told_so(sites, tmp_path):
    lists = [{"dataset": "birds", "name": "birds", "classes": ["owl", "jay", "emu"]}]
    stream = definition(tmp_path / "more.yaml", datasets=lists)
    made = bmc_stream("base", "--stream", stream, "--dim", DIM, "--out", "base", cwd=tmp_path)
    assert made[0] == 0
    with pytest.raises(UnknownName, match="unknown class of dataset 'birds' 'emu'"):
        train_expert(tmp_path / "base", "birds", tmp_path / "no", root=sites["birds"] / "data")
    with pytest.raises(FeaturesMissing, match="birds"):
        train_expert(tmp_path / "base", "birds", tmp_path / "no", root=sites["cakes"] / "data")


def test_a_site_is_told_of_classes_that_the_base_leaves_out(sites, tmp_path):
    lists = [{"dataset": "birds", "name": "birds", "classes": ["owl", "jay"]}]
    stream = definition(tmp_path / "less.yaml", datasets=lists)
    bmc_stream("base", "--stream", stream, "--dim", DIM, "--out", "base", cwd=tmp_path)
    made = train_expert(tmp_path / "base", "birds", tmp_path / "m", root=sites["birds"] / "data")
    assert made.notes == ["classes that the base does not have were left out: tit"]
    assert made.header.classes == ["owl", "jay"]
    assert sum(made.header.counts) < 110


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["--method", "er", "--dim", 8], "expected one that learns from messages of sites, bmc"),
        (["--method", "bmcc", "--dim", 8], "did you mean bmc"),
        ([], "--dim: expected the width of the features, of which none are here"),
        (["--order", "0,1", "--dim", 8], "expected one order"),
        (["-o", "er.memory=3", "--dim", 8], "expected a method that is run"),
        (["--stream", "synthetic", "--dim", 8], "expected 512, the width of the features, got 8"),
        (["--dim", 8, "--stream", "cub"], "expected the name of an encoder"),
        (["--dim", 8, "--out", "three.yaml"], "expected a new file"),
        (["--dim", 70000], "dim: Input should be less than or equal to 65536, got 70000"),
    ],
)
def test_a_base_that_cannot_be_made_is_refused(tmp_path, arguments, text):
    stream = definition(tmp_path / "three.yaml")
    before = sorted(tmp_path.iterdir())
    code, _, wrong = bmc_stream(
        "base", "--stream", stream, "--out", "base", "--root", "none", *arguments, cwd=tmp_path
    )
    assert code == 2
    assert text in " ".join(wrong.split())
    assert sorted(tmp_path.iterdir()) == before


@pytest.mark.parametrize(
    ("name", "suggested"),
    [("birds", "--dataset birds --out"), ("all birds", "--dataset birds --out"),
     ("boats", "--dataset birds --task boats --out")],
)  # fmt: skip
def test_the_suggested_expert_names_the_dataset_and_the_task_only_if_it_must(
    tmp_path, name, suggested
):
    tasks = [{"dataset": "birds", "name": name, "classes": ["owl"]}]
    tasks += [{"dataset": "birds", "name": "more", "classes": ["jay"]}] * (name == "boats")
    stream = definition(tmp_path / "three.yaml", datasets=tasks)
    code, said, wrong = bmc_stream(
        "base", "--stream", stream, "--dim", 8, "--out", "base", cwd=tmp_path
    )
    assert code == 0, wrong
    assert suggested in said


@pytest.mark.parametrize(
    ("tasks", "text"),
    [
        ([("a", "x\x1by", ["owl"])], r"name: expected a name without control characters, got 'x"),
        ([("a", "x", ["owl\n"])], r"classes\.0: expected a name without control characters"),
        ([("a", "x", ["o" * 2000])], r"classes\.0: String should have at most 1000 .* got 'ooo"),
        ([("a", "x", ["owl"]), ("b", "x", ["jay"])], "its tasks: expected each task once, got 'x' "
         "twice; nothing was written"),
    ],
)  # fmt: skip
def test_a_plan_that_no_reader_would_take_is_not_written(tmp_path, tasks, text):
    keys = ("dataset", "name", "classes")
    lists = [dict(zip(keys, task, strict=True)) for task in tasks]
    stream = str(definition(tmp_path / "three.yaml", datasets=lists))
    with pytest.raises(UsageError, match=text):
        make_plan(StreamChoice("class-il", stream), "paper", "bmc", Config(), 8)


def test_a_centre_without_manifest_or_features_needs_the_classes(tmp_path):
    lists = ["birds", {"dataset": "boats", "classes": ["raft", "punt"]}]
    stream = definition(tmp_path / "three.yaml", datasets=lists)
    code, _, wrong = bmc_stream(
        "base", "--stream", stream, "--dim", 8, "--out", "base", cwd=tmp_path
    )
    assert code == 2
    assert "the classes of 'birds' are not known here" in wrong


def test_a_consolidation_cut_short_between_its_two_files_is_run_again(learned, tmp_path):
    beside = centre_path(learned)
    before = learned.read_bytes(), beside.read_bytes()
    learned.unlink()  # what the centre keeps is written first
    consolidate(tmp_path / "base", [tmp_path / name for name in CLASSES], learned)
    assert (learned.read_bytes(), beside.read_bytes()) == before


@pytest.mark.parametrize("other", ["of another base", "no such file"])
def test_what_the_centre_keeps_of_another_base_is_told_before_any_work_and_not_written_over(
    tmp_path, other, monkeypatch
):
    first = first_base(tmp_path / "first")
    messages = [message(first, name) for name in ("aircraft", "apparel")]
    beside = centre_path(tmp_path / "next")
    if other == "of another base":
        made = first_base(tmp_path / "other", seed=1)
        theirs = [message(made, name) for name in ("aircraft", "apparel")]
        consolidate(made, theirs, tmp_path / "next")
        (tmp_path / "next").unlink()
    else:
        beside.write_bytes(b"mine")
    before = beside.read_bytes()
    monkeypatch.setattr("bmc.sites.consolidate.write_base", None)
    with pytest.raises(UsageError, match=r"next\.centre: expected a new file"):
        consolidate(first, messages, tmp_path / "next")
    assert beside.read_bytes() == before
    assert not (tmp_path / "next").exists()


def test_a_base_before_anything_was_learned_is_not_measured(base, everything, tmp_path):
    code, _, wrong = bmc_stream("evaluate", base, "--root", everything, cwd=tmp_path)
    assert code == 2
    assert "has learned no task yet" in wrong


def test_the_commands_say_what_comes_next_and_what_a_message_holds(base, sites, tmp_path):
    names = list(CLASSES)
    for name in names:
        code, said, wrong = bmc_stream(
            "expert", "--base", base, "--dataset", name, "--root", sites[name] / "data",
            "--out", name, cwd=tmp_path,
        )  # fmt: skip
        assert code == 0, wrong
        assert "buffer.features  99 x 24" in said
        assert "bmc-stream consolidate base" in said
    code, said, wrong = bmc_stream("consolidate", base, *names, "--out", "next", cwd=tmp_path)
    assert code == 0, wrong
    assert "learned birds, boats, cakes" in said
    assert "stays with the centre" in said
    assert "bmc-stream evaluate" in said
    code, said, wrong = bmc_stream(
        "evaluate", "next", "--stream", "boats", "--root", sites["boats"] / "data", cwd=tmp_path
    )
    assert code == 0, wrong
    assert "mean over tasks" in said
    assert "cakes" not in said
