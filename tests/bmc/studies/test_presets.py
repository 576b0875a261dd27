"""Presets: their values against the published configuration, and a run of each method with them."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from commands import bmc_stream
from small import CPU, small_stream, tensors

from autods.errors import UnknownName
from bmc.config import Config
from bmc.methods import METHODS
from bmc.studies.presets import config_file, preset_names, read_preset
from bmc.studies.published import METHODS as PUBLISHED

# The published run, as configured: typed from the notes on the public code and not from ours.
EVERYWHERE = {
    "epochs": 20, "batch_size": 64, "replay_batch": 64, "memory": 10_000, "learning_rate": 0.01,
    "weight_decay": 0.01, "plateau_threshold": 1e-4, "plateau": 10, "early_stopping": 10,
    "hidden": 128, "inner": 128, "width": 256, "dropout": 0.3, "outputs": "all",
    "moments": "new",
}  # fmt: skip
BY_METHOD = {
    "er": {"learning_rate": 0.2},
    "bmc": {
        "experts": 1, "buffer": 10_000, "alpha": 1.0, "consolidation_epochs": 100,
        "consolidation_rate": 0.01, "consolidation_batch": 64,
    },
    "dmc": {
        "distillation_rate": 0.05, "distillation_epochs": 10, "distillation_optimizer": "sgd",
    },
    "hal": {"lam": 0.1, "beta": 0.5, "gamma": 0.1, "memory_balance": "tasks"},
    "icarl": {"outputs": "seen"},
    "fdr": {"alpha": 1.0},
    "mas": {"lam": 0.7, "gamma": 1.0},
    "ewc": {"lam": 0.7, "gamma": 1.0},
    "si": {"c": 0.5, "xi": 1.0},
    "gem": {"margin": 0.5},
    "gss": {"samples": 10},
    "der": {"alpha": 0.5},
    "derpp": {"alpha": 0.5, "beta": 1.0},
    "lwf": {"alpha": 0.5, "temperature": 2.0},
    "gdumb": {"memory_epochs": 256, "rate": 0.05, "last_rate": 0.0005},
}  # fmt: skip
ONLY_IN = {
    "published-code": {
        "bmc": {
            "lam": 0.0, "beta": 0.0, "feature_loss": "squared", "mixup": 0.6, "held_out": 0.2,
            "task_slice": True, "buffer_choice": "first", "memory_choice": "share",
            "drop_last": True,
        },
        "finetune": {"restart": True},
        "dmc": {"centred": "batch", "competition": "all", "restart": True},
        "icarl": {"weight_decay": 0.01},
    },
    "paper": {
        "bmc": {"lam": 1.0, "beta": 1.0, "feature_loss": "norm", "mixup": 1.0, "held_out": 0.0},
        "finetune": {"restart": False},
        "dmc": {"centred": "sample", "competition": "task", "restart": False},
        "icarl": {"weight_decay": 1e-5},
    },
}  # fmt: skip
# how a run is carried out and measured, which no preset decides
LEFT = {"seed", "precision", "capture", "evaluate_on", "evaluate_every", "measure_ahead"}


def test_there_are_two_presets():
    assert preset_names() == ["paper", "published-code"]
    with pytest.raises(UnknownName, match="unknown preset 'published_code'"):
        read_preset("published_code")


@pytest.mark.parametrize("name", preset_names())
@pytest.mark.parametrize("method", PUBLISHED)
def test_a_preset_has_the_published_values(name, method):
    values = read_preset(name).config(method).flat()
    expected = EVERYWHERE | BY_METHOD.get(method, {}) | ONLY_IN[name].get(method, {})
    assert {key: values[key] for key in expected} == expected


@pytest.mark.parametrize("name", preset_names())
def test_a_preset_sets_every_option_of_the_published_methods(name):
    """So that a new option, or another default, does not change what a preset is."""
    preset = read_preset(name)
    assert set(preset.methods) == set(PUBLISHED)
    for method in PUBLISHED:
        made = METHODS.get(method)
        shared = {field for field in Config.names() if made.reads(field)}
        missing = (shared | set(made.Options.names())) - LEFT
        missing -= set(preset.shared) | set(preset.methods[method])
        assert not missing, f"bmc/presets/{name}.yaml: {method} lacks {sorted(missing)}"


STREAM = small_stream()


@pytest.mark.parametrize("name", preset_names())
@pytest.mark.parametrize("method", PUBLISHED)
def test_every_published_method_learns_a_stream_with_a_preset(name, method):
    config = replace(read_preset(name).config(method), epochs=2)
    short = {key: 12 for key in ("consolidation_epochs", "memory_epochs") if key in config.flat()}
    config = replace(config, options=replace(config.options, **short))
    tasks = tensors(STREAM)[:3]
    made = METHODS.get(method)(STREAM.dim, STREAM.n_classes, config, CPU)
    size = made.group_size(len(tasks))
    for first in range(0, len(tasks), size):
        made.learn(tasks[first : first + size])
    scores = made.scores(tasks[0].test.features)
    assert scores.shape[1] == (tasks[-1].stop if method == "icarl" else STREAM.n_classes)
    assert not torch.isnan(scores).any()


def test_a_preset_is_read_by_name_and_the_command_line_beats_it(tmp_path):
    (tmp_path / "paper").mkdir()  # a folder of this name is not meant
    code, _, told = bmc_stream(
        "run", "--scenario", "class-il", "--config", "paper", "--method", "bmc", "--max-tasks", 2,
        "--scale", 0.0001, "--epochs", 1, "-o", "bmc.consolidation_epochs=2", "--out", "o",
        cwd=tmp_path,
    )  # fmt: skip
    assert code == 0, told
    (written,) = tmp_path.glob("o/bmc-*/run.yaml")
    text = written.read_text()
    for line in ("epochs: 1", "  consolidation_epochs: 2", "  lam: 1.0", "outputs: all"):
        assert f"\n{line}\n" in text


def test_a_file_beats_a_preset_of_its_name_and_other_names_are_answered_with_those_there_are(
    tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    assert config_file(Path("paper")).parent.name == "presets"
    Path("paper").write_text("epochs: 3\n")
    assert config_file(Path("paper")) == Path("paper")
    code, _, told = bmc_stream("run", "--config", "papre", "--scenario", "class-il", cwd=tmp_path)
    assert code == 2
    assert "paper, published-code" in " ".join(told.split())
