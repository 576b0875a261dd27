"""Which samples of the last evaluation were right: what a run writes, and what reading refuses."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file, save_file
from small import learned, small_config, small_stream, tensors

from autods.errors import UsageError
from bmc.report.finished import Run, read_run
from bmc.runs import run
from bmc.runs.folder import RunFolder

VERSION = {"format": "1"}


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> Path:
    return run.run(
        small_stream(3), "slda", small_config("slda"), tmp_path_factory.mktemp("samples")
    )


@pytest.fixture
def copied(finished, tmp_path) -> Path:
    """A run folder that a test may damage."""
    for name in ("results.json", "timing.json", "samples.safetensors"):
        (tmp_path / name).write_bytes((finished / name).read_bytes())
    return tmp_path


def test_the_samples_are_those_that_the_method_gets_right(finished):
    stream, config = small_stream(3), small_config("slda")
    method, loaded = learned("slda", stream, config), read_run(finished)
    for task in tensors(stream):
        scores = method.scores(task.test.features)
        within = scores[:, task.start : task.stop].argmax(dim=1) + task.start
        for scenario, answers in (("class-il", scores.argmax(dim=1)), ("task-il", within)):
            right = loaded.samples(scenario)[task.name]
            assert right.dtype == np.uint8
            np.testing.assert_array_equal(right, (answers == task.test.labels).numpy())


@pytest.mark.parametrize("scenario", ["class-il", "task-il"])
def test_their_means_are_the_final_accuracies(finished, scenario):
    loaded = read_run(finished)
    means = {name: right.mean() for name, right in loaded.samples(scenario).items()}
    assert means == pytest.approx(loaded.final(scenario))


def test_those_of_the_development_split_are_stored_when_it_is_measured(tmp_path):
    stream, config = small_stream(2), small_config("slda", evaluate_on="dev")
    samples = read_run(run.run(stream, "slda", config, tmp_path)).samples("class-il")
    assert {name: len(right) for name, right in samples.items()} == {
        task.name: len(task.dev) for task in stream.tasks
    }


def test_a_run_resumed_after_its_last_task_has_them(tmp_path, finished):
    run.run(small_stream(3), "slda", small_config("slda"), tmp_path)
    for name in ("results.json", "timing.json"):
        (tmp_path / name).unlink()
    run.run(small_stream(3), "slda", small_config("slda"), tmp_path, resume=True)
    stored = (tmp_path / "samples.safetensors").read_bytes()
    assert stored == (finished / "samples.safetensors").read_bytes()


def test_a_run_of_an_earlier_version_has_none(copied):
    (copied / "samples.safetensors").unlink()
    assert read_run(copied).samples("class-il") is None
    results = json.loads((copied / "results.json").read_text())
    costs = {**results["costs"], "seconds": {}}
    assert Run.model_validate({**results, "costs": costs}).samples("class-il") is None


def test_a_run_does_not_say_where_it_lies_when_it_is_written_as_json(finished):
    assert str(finished) not in read_run(finished).model_dump_json()


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda right: None, "it has no class-il/"),
        (lambda right: right[1:], r"expected U8 \[\d+\], got U8 \[\d+\]"),
        (lambda right: right.astype(np.float64), r"got F64"),
        (lambda right: right[:, None].copy(), r"got U8 \[\d+, 1\]"),
        (lambda right: right + 2, "expected 0 and 1, got 3"),
        (lambda right: 1 - right, "of its samples are right, results.json says"),
    ],
    ids=["missing", "short", "of another type", "of two axes", "no bits", "inverted"],
)
def test_samples_that_do_not_agree_with_the_results_are_refused(copied, make, said):
    loaded = read_run(copied).model_copy(update={"files": {}})  # as those without hashes
    stored = load_file(copied / "samples.safetensors")
    first = f"class-il/{loaded.tasks[0].name}"
    stored[first] = make(stored[first])
    kept = {name: right for name, right in stored.items() if right is not None}
    save_file(kept, copied / "samples.safetensors", VERSION)
    with pytest.raises(UsageError, match=said):
        loaded.samples("class-il")
    assert loaded.samples("task-il") is not None


@pytest.mark.parametrize(
    "content",
    [b"", b"\xff" * 8, b"\x02\0\0\0\0\0\0\0{}", b"\x08\0\0\0\0\0\0\0nonsense", b"{" * 4000],
    ids=["empty", "of a header beyond its end", "without arrays", "without JSON", "of braces"],
)
def test_a_file_that_is_no_safetensors_is_refused(copied, content):
    (copied / "samples.safetensors").write_bytes(content)
    with pytest.raises(UsageError, match="expected the samples of a finished run in"):
        read_run(copied).samples("class-il")


def test_a_cut_file_is_refused(copied):
    path = copied / "samples.safetensors"
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(UsageError, match=r"nothing of it was used\. Move .* run the method again"):
        read_run(copied).samples("class-il")


def test_a_folder_in_its_place_and_another_format_are_refused(copied):
    path, loaded = copied / "samples.safetensors", read_run(copied)
    save_file(load_file(path), path, {"format": "2"})
    with pytest.raises(UsageError, match="expected format 1, got 2"):
        loaded.samples("class-il")
    path.unlink()
    path.mkdir()
    with pytest.raises(UsageError, match="it is no file"):
        loaded.samples("class-il")


def test_a_task_without_samples_has_none_of_them(tmp_path):
    right = {"a": torch.zeros(3, 0, dtype=torch.bool), "b": torch.ones(3, 2, dtype=torch.bool)}
    RunFolder(tmp_path).save_samples(right)
    stored = load_file(tmp_path / "samples.safetensors")
    assert {name: value.tolist() for name, value in stored.items()} == {
        "class-il/a": [], "task-il/a": [], "class-il/b": [1, 1], "task-il/b": [1, 1],
    }  # fmt: skip


def test_samples_with_a_flipped_bit_are_refused_or_the_same(copied):
    path, loaded = copied / "samples.safetensors", read_run(copied)
    whole, truth = path.read_bytes(), loaded.samples("class-il")
    for position in range(0, len(whole), max(1, len(whole) // 40)):
        flipped = bytearray(whole)
        flipped[position] ^= 1 << position % 8
        path.write_bytes(flipped)
        with pytest.raises(UsageError, match="nothing of it was used"):
            loaded.samples("class-il")
    path.write_bytes(whole)
    assert loaded.samples("class-il").keys() == truth.keys()


def test_the_answers_are_those_of_the_method_and_classes_are_named(finished):
    stream, config = small_stream(3), small_config("slda")
    method, loaded = learned("slda", stream, config), read_run(finished)
    for task in tensors(stream):
        answers = loaded.answers()[task.name]
        said = method.scores(task.test.features).argmax(dim=1)
        np.testing.assert_array_equal(answers.answer, said.numpy())
        np.testing.assert_array_equal(answers.label, task.test.labels.numpy())
    assert [t.class_names for t in loaded.tasks] == [t.class_names for t in stream.tasks]


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda said: None, "it has no answer/"),
        (lambda said: said[1:], r"expected I32 \[\d+\], got I32 \[\d+\]"),
        (lambda said: said.astype(np.int64), "got I64"),
        (lambda said: said + 10**6, r"expected numbers of \d+ classes"),
        (lambda said: said - 10**6, r"expected numbers of \d+ classes"),
        (lambda said: (said + 1) % 3, "of its samples are right, results.json says"),
    ],
    ids=["missing", "short", "of another type", "too large", "negative", "others"],
)
def test_answers_that_do_not_agree_with_the_results_are_refused(copied, make, said):
    loaded = read_run(copied).model_copy(update={"files": {}})
    stored = load_file(copied / "samples.safetensors")
    first = f"answer/{loaded.tasks[0].name}"
    stored[first] = make(stored[first])
    kept = {name: numbers for name, numbers in stored.items() if numbers is not None}
    save_file(kept, copied / "samples.safetensors", VERSION)
    with pytest.raises(UsageError, match=said):
        loaded.answers()
    assert loaded.samples("class-il") is not None


def test_a_run_that_stored_only_what_was_right_has_no_answers(copied):
    stored = load_file(copied / "samples.safetensors")
    old = {name: value for name, value in stored.items() if "-il/" in name}
    save_file(old, copied / "samples.safetensors", VERSION)
    loaded = read_run(copied).model_copy(update={"files": {}})
    assert loaded.answers() is None
    assert loaded.samples("class-il") is not None
