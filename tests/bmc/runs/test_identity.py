from dataclasses import replace

import pytest
import torch
from small import CPU, small_config, small_stream

from autods.errors import UsageError
from bmc.runs.choice import StreamChoice
from bmc.runs.identity import identity_of, label_of, run_name
from bmc.runs.orders import open_orders, parse_orders, single_task

STREAM = small_stream(2)


def name(stream=STREAM, method="er", config=None, device=CPU, **options) -> str:
    identity = identity_of(stream, method, config or small_config(method), device)
    return run_name(label_of(method, "paper", 0), identity, **options)


def test_a_folder_is_named_by_method_order_seed_and_a_hash_of_eight_digits():
    label, _, digits = name().rpartition("-")
    assert label == "er-order-paper-seed-0"
    assert len(digits) == 8
    assert int(digits, 16) >= 0
    assert label_of("bmc", 3, 1, "lam-0") == "bmc-lam-0-order-3-seed-1"


@pytest.mark.parametrize(
    "options",
    [
        {"config": small_config("er", epochs=3)},
        {"device": torch.device("meta")},
        {"stream": replace(STREAM, scenario="task-il")},
        {"stream": small_stream(3)},
        {"method": "slda"},
        {"threads": 2},
    ],
)
def test_whatever_determines_the_numbers_changes_the_hash(options):
    assert name(**options)[-8:] != name()[-8:]


def test_versions_do_not_change_the_name_of_a_run(monkeypatch):
    before = name()
    monkeypatch.setattr("torch.__version__", "99.0")
    provenance = {**STREAM.provenance, "version": "99.0"}
    assert name(stream=replace(STREAM, provenance=provenance)) == before
    assert name(threads=1) == before


@pytest.mark.parametrize(
    ("text", "orders"),
    [
        ("paper", ["paper"]),
        ("3", [3]),
        ("0..2", [0, 1, 2]),
        ("paper, 4,1..2", ["paper", 4, 1, 2]),
        ("1,1", [1]),
    ],
)
def test_orders_are_the_word_paper_seeds_and_ranges_of_seeds(text, orders):
    assert parse_orders(text) == orders


@pytest.mark.parametrize("text", ["", "seed", "-1", "2..1", "0..", "\N{SUPERSCRIPT TWO}", "1,x"])
def test_what_names_no_order_is_refused(text):
    with pytest.raises(UsageError, match="--order: expected 'paper' or seeds"):
        parse_orders(text)


def test_orders_that_are_the_same_are_opened_once_and_named():
    streams, notes = open_orders(StreamChoice("class-il", max_tasks=1), [0, 1])
    assert len(streams) + len(notes) == 2
    assert all("again; skipped." in note for note in notes)


def test_a_stream_of_one_task_is_said_to_be_no_continual_learning_with_the_cure():
    one, two = ({"paper": small_stream(n)} for n in (1, 2))
    assert single_task(StreamChoice("class-il", "dogs"), two) == []
    (told,) = single_task(StreamChoice("class-il", "dogs"), one)
    assert "has one task, 'aircraft': nothing is learned after it" in told
    assert "--classes-per-task N, or name several datasets with --stream A,B." in told
    (told,) = single_task(StreamChoice("class-il", max_tasks=1), one)
    assert told.endswith("Raise --max-tasks.")
