"""Streams by hand: definitions in YAML, written and read again, and their tables."""

import json
import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import yaml
from archives import folders_layout, make_zip, manifest_of, placed
from shard_tools import shard_info
from warm import program

from autods.core.progress import Silent
from autods.core.root import DataRoot
from autods.errors import ManifestError, UnknownName, UsageError
from autods.features.sets import seal_features
from autods.features.shards import ShardData, write_shard
from autods.index.samples import index_dataset
from autods.manifest.catalogue import Catalogue
from autods.manifest.schema import StreamItem, StreamSpec
from autods.streams.open import open_stream
from autods.streams.resolve import resolve
from autods.streams.stream import Stream
from autods.streams.table import tabulate

ENCODER = "tiny.a"
SIZES = {"birds": 5, "cats": 3, "frog": 11}


def write_features(root: DataRoot, name: str, classes: int) -> None:
    """Write 8 train, 2 dev and 4 test samples of each class; ``half`` is a second label set."""
    for number, (split, each) in enumerate({"train": 8, "dev": 2, "test": 4}.items()):
        label = np.repeat(np.arange(classes, dtype=np.int32), each)
        rows = np.arange(len(label)) + 1000 * number
        features = np.stack([rows % 97, label + 1, rows // 97], axis=1).astype(np.float16)
        info = shard_info(
            len(label),
            {"class": [f"{name}-{i}" for i in range(classes)], "half": ["low", "high"]},
            dataset=name,
            split=split,
            encoder={"model": "tiny", "weights_sha256": "ab"},
        )
        labels = {"class": label, "half": (label >= classes // 2).astype(np.int32)}
        data = ShardData(features, labels, rows.astype(np.int64), rows.astype(np.uint64))
        write_shard(root.shard(ENCODER, name, split, 0, 1), data, info)
    seal_features(root, ENCODER, name)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> DataRoot:
    made = DataRoot(tmp_path_factory.mktemp("root"))
    for name, classes in SIZES.items():
        write_features(made, name, classes)
    return made


def stream_file(folder: Path, **content: object) -> str:
    path = folder / "mine.yaml"
    path.write_text(yaml.safe_dump({"name": "mine", "encoder": ENCODER, **content}))
    return str(path)


def check_equal(one: Stream, other: Stream) -> None:
    assert (one.name, one.scenario, one.normalize) == (other.name, other.scenario, other.normalize)
    for a, b in zip(one.tasks, other.tasks, strict=True):
        assert (a.name, a.dataset, a.label_set, a.index) == (
            b.name,
            b.dataset,
            b.label_set,
            b.index,
        )
        assert (a.class_names, a.class_offset) == (b.class_names, b.class_offset)
        for split in ("train", "dev", "test"):
            mine, theirs = getattr(a, split), getattr(b, split)
            np.testing.assert_array_equal(mine.labels, theirs.labels)
            np.testing.assert_array_equal(mine.features, theirs.features)
    assert one.provenance["fingerprint"] == other.provenance["fingerprint"]


ITEMS: list[object] = [
    {"dataset": "birds", "classes": ["birds-4", "birds-0"]},
    {"dataset": "birds", "classes": ["birds-1", "birds-3", "birds-2"], "name": "other birds"},
    {"dataset": "birds", "task": "half"},
    {"dataset": "frog", "classes_per_task": 4},
    "cats",
]
WAYS: dict[str, dict[str, object]] = {
    "all in another order": {"stream": "all", "order": 3},
    "cut": {"stream": "frog,cats", "classes_per_task": 3, "order": 1, "max_tasks": 4},
    "task-il, none": {"stream": "cats,birds", "scenario": "task-il", "normalize": "none"},
    "named": {"stream": "cats,birds,frog", "order": ["frog", "cats", "birds"]},
    "by hand": {"stream": StreamSpec(name="hand", datasets=ITEMS)},  # type: ignore[arg-type]
    "glob": {"stream": "[bf]*"},
}


@pytest.mark.parametrize("way", WAYS)
def test_a_stream_that_is_written_and_read_again_is_equal_task_for_task(root, tmp_path, way):
    stream = open_stream(root=root, encoder=ENCODER, **WAYS[way])  # type: ignore[arg-type]
    path = stream.write(tmp_path / "deep" / "written.yaml")
    again = open_stream(str(path), root)
    check_equal(stream, again)
    assert again.write(tmp_path / "twice.yaml").read_bytes() == path.read_bytes()


def test_a_generated_stream_is_written_with_its_sizes_and_order(tmp_path):
    from autods.streams.synthetic import synthetic_stream

    stream = synthetic_stream(scale=0.001, seed=5, classes=300, dim=8, order=2, tasks=3)
    path = str(stream.write(tmp_path / "generated.yaml"))
    check_equal(stream, open_stream(path))
    assert [task.name for task in open_stream(path, order=0).tasks] != [
        task.name for task in stream.tasks
    ]
    with pytest.raises(UsageError, match=r"is generated and has no use for encoder"):
        open_stream(path, encoder=ENCODER)
    assert len(open_stream("synthetic", max_tasks=2).tasks) == 2


def test_tasks_cut_by_classes_have_only_these_in_the_order_given(root):
    stream = open_stream(StreamSpec(name="h", datasets=ITEMS), root, ENCODER)  # type: ignore[arg-type]
    first, second, half, *frogs, cats = stream.tasks
    assert first.name == "birds[4,0]" and first.class_names == ["birds-4", "birds-0"]
    # column 1 of a row is its own class number + 1: birds-4 is class 0 of the stream
    raw = open_stream(stream.spec(), root, ENCODER, normalize="none").tasks[0].train
    assert set(raw.features[raw.labels == 0][:, 1]) == {5}
    assert set(raw.features[raw.labels == 1][:, 1]) == {1}
    assert second.name == "other birds" and second.class_offset == 2
    assert half.name == "birds/half" and half.label_set == "half" and half.class_offset == 5
    assert [len(task.class_names) for task in frogs] == [4, 4, 3]
    assert cats.class_offset == 18 and stream.n_classes == 21


def test_the_file_says_how_it_is_opened_unless_the_caller_does(root, tmp_path):
    path = stream_file(
        tmp_path, datasets=["cats", "birds", "frog"], order=["frog", "birds", "cats"],
        scenario="task-il", normalize="none", max_tasks=2,
    )  # fmt: skip
    said = open_stream(path, root)
    assert [task.name for task in said.tasks] == ["frog", "birds"]
    assert (said.scenario, said.normalize) == ("task-il", "none")
    other = open_stream(path, root, scenario="class-il", normalize="l2", order=0, max_tasks=3)
    assert len(other.tasks) == 3 and other.scenario == "class-il" and other.normalize == "l2"
    assert [t.name for t in other.tasks] == [
        t.name for t in open_stream("cats,birds,frog", root, ENCODER, order=0).tasks
    ]


def test_a_seed_in_the_file_permutes_as_the_same_seed_of_the_caller(root, tmp_path):
    path = stream_file(tmp_path, datasets=list(SIZES), order=4, classes_per_task=2)
    mine = open_stream(path, root)
    theirs = open_stream(",".join(SIZES), root, ENCODER, order=4, classes_per_task=2)
    assert [task.name for task in mine.tasks] == [task.name for task in theirs.tasks]
    assert mine.provenance["order_seed"] == 4


@pytest.mark.parametrize(
    ("datasets", "error", "told"),
    [
        ([{"dataset": "cats", "classes": ["cats-9"]}], UnknownName,
         r"unknown class of dataset 'cats' 'cats-9'; did you mean cats-"),
        ([{"dataset": "cats", "classes": ["cats-1"]}, "cats"], UsageError,
         r"class 'cats-1' of 'cats' is in the tasks 'cats\[1:2\]' and 'cats'; expected each"),
        (["cats", "cats"], UsageError, r"task 'cats' is in the stream twice"),
        ([{"dataset": "cats", "name": "x"}, {"dataset": "birds", "name": "x"}], UsageError,
         r"task 'x' is in the stream twice; nothing was opened"),
        ([{"dataset": "cats", "classes": [1, 2]}], ManifestError,
         r"mine.yaml:\d: datasets.0.classes.0: expected text; put it in quotes, got '1'"),
        ([{"dataset": "cats", "classes": ["a", "a"]}], ManifestError, r"got 'a' twice"),
        ([{"dataset": "cats", "classes": ["a"], "classes_per_task": 2}], ManifestError,
         r"expected 'classes' or 'classes_per_task', got both"),
        ([{"dataset": "cats", "clases": ["a"]}], ManifestError, r"unknown key 'clases'"),
    ],
)  # fmt: skip
def test_a_mistake_in_a_definition_is_one_message(root, tmp_path, datasets, error, told):
    with pytest.raises(error, match=told):
        open_stream(stream_file(tmp_path, datasets=datasets), root)


@pytest.mark.parametrize("wrong", ["alphabetical", -1, 1.5, [1, 2], True])
def test_an_order_that_is_none_is_told_with_its_line(root, tmp_path, wrong):
    with pytest.raises(ManifestError, match=r"mine.yaml:\d+: order"):
        open_stream(stream_file(tmp_path, datasets=["cats"], order=wrong), root)


def test_without_an_encoder_the_message_names_those_that_are_there(root):
    with pytest.raises(UsageError, match=r"expected the name of an encoder.*are by: tiny.a"):
        open_stream("cats", root)


def test_a_task_made_by_hand_cannot_be_written(root, tmp_path):
    stream = open_stream("cats", root, ENCODER)
    byhand = replace(stream, tasks=[replace(stream.tasks[0], item=None)])
    with pytest.raises(UsageError, match="task 'cats' of stream 'cats' was made by hand"):
        byhand.write(tmp_path / "x.yaml")
    assert not (tmp_path / "x.yaml").exists()


@pytest.mark.parametrize("way", [name for name in WAYS if name != "task-il, none"])
def test_the_table_counts_what_the_opened_stream_has(root, way):
    stream = open_stream(root=root, encoder=ENCODER, **WAYS[way])  # type: ignore[arg-type]
    table = tabulate(resolve(root=root, encoder=ENCODER, **WAYS[way]))  # type: ignore[arg-type]
    assert [
        (r.task, r.dataset, r.label_set, r.classes, r.train, r.dev, r.test, r.offset, r.class_names)
        for r in table.rows
    ] == [
        (t.name, t.dataset, t.label_set, len(t.class_names), len(t.train), len(t.dev),
         len(t.test), t.class_offset, t.class_names)
        for t in stream.tasks
    ]  # fmt: skip
    assert {row.counted for row in table.rows} == {"features"}
    check_equal(stream, open_stream(table.spec, root))


@pytest.fixture
def images(tmp_path: Path) -> tuple[Catalogue, DataRoot]:
    """Return a manifest of two classes, indexed, whose images were never encoded."""
    files = {f"{c}/{i}.png": f"{c}{i}".encode() for c in ("ant", "bee") for i in range(10)}
    archive = make_zip(tmp_path / "bugs.zip", files)
    manifest = manifest_of({"bugs.zip": archive}, folders_layout("bugs.zip"), name="bugs")
    folder = tmp_path / "manifests"
    folder.mkdir()
    root = DataRoot(tmp_path / "root")
    used = placed(root, manifest, {manifest.files[0].name: archive})
    text = yaml.safe_dump(used.model_dump(mode="json", by_alias=True))
    (folder / "bugs.yaml").write_text(text)
    return Catalogue([folder]), root


def test_before_features_an_index_counts_and_before_that_the_manifest(images):
    catalogue, root = images
    (unknown,) = tabulate(resolve("bugs", root, catalogue=catalogue)).rows
    assert (unknown.classes, unknown.train, unknown.counted) == (None, None, "nothing")
    index_dataset(catalogue.dataset("bugs"), root, Silent())
    ant, bee = tabulate(resolve("bugs", root, catalogue=catalogue, classes_per_task=1)).rows
    assert (ant.task, ant.counted, ant.offset, bee.offset) == ("bugs[0:1]", "index", 0, 1)
    counts = [n for row in (ant, bee) for n in (row.train, row.dev, row.test)]
    assert sum(n for n in counts if n) == 20 and ant.class_names == ["ant"]


def test_what_comes_after_an_unknown_number_of_classes_has_no_offset(images):
    catalogue, root = images
    table = tabulate(resolve("aircraft,bugs,cub", root, catalogue=catalogue))
    assert [row.offset for row in table.rows] == [0, 70, None]
    assert [row.counted for row in table.rows] == ["manifest", "nothing", "manifest"]
    assert len(table.notes()) == 2
    spec = StreamSpec(name="x", datasets=[StreamItem(dataset="bugs", classes=["ant"])])
    with pytest.raises(UsageError, match="class names of 'bugs' are not known before"):
        tabulate(resolve(spec, root, catalogue=catalogue))


def command(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([program("autods"), *words], text=True, capture_output=True, check=False)


def test_the_commands_show_and_write_what_can_be_opened(root, tmp_path):
    where = ["--root", str(root.path), "--encoder", ENCODER, "--order", "1"]
    cut = ["--classes-per-task", "4"]
    shown = command("stream", "show", "frog,cats", *where, *cut)
    assert shown.returncode == 0, shown.stderr
    stream = open_stream("frog,cats", root, ENCODER, order=1, classes_per_task=4)
    body = shown.stdout.splitlines()[2:-1]
    assert [line.split()[0] for line in body] == [task.name for task in stream.tasks]
    assert shown.stdout.splitlines()[-1] == "4 tasks, 14 classes; train 112, dev 28, test 56."
    facts = json.loads(command("stream", "show", "frog,cats", *where, *cut, "--json").stdout)
    assert [row["class_names"] for row in facts["tasks"]] == [t.class_names for t in stream.tasks]
    path = tmp_path / "mine.yaml"
    done = command("stream", "write", "frog,cats", str(path), "--name", "mine", *where, *cut)
    assert (done.returncode, done.stdout) == (0, f"{path}\n")
    check_equal(replace(stream, name="mine"), open_stream(str(path), root))
    for words, told in (
        ([str(path)], "exists already"),
        ([str(tmp_path / "mine.txt")], "expected a name that ends in .yaml"),
    ):
        refused = command("stream", "write", "frog,cats", *words, *where)
        assert refused.returncode == 2 and told in refused.stderr
