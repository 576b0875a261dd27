"""Runs whose weights, statistics or scores are no longer finite are marked and have no results."""

from dataclasses import replace

import numpy as np
import pytest
from small import small_config, small_stream

from autods.core.files import read_json
from autods.streams.feature_set import FeatureSet
from autods.streams.stream import Stream
from bmc.engines import local
from bmc.methods import METHODS
from bmc.runs import divergence, run
from bmc.runs.divergence import RunDiverged, ranked
from bmc.runs.folder import RunFolder

UNTOUCHED = {"zero-shot", "gdumb"}  # the first looks at no training sample, the other draws others
NETWORKS = [name for name in METHODS.names() if METHODS.get(name).reads("learning_rate")]


def with_bad_rows(stream: Stream, task: int, split: str, value: float) -> Stream:
    """Return the stream with one row of one split of one task that holds a value."""
    chosen = stream.tasks[task]
    data = getattr(chosen, split)
    features = np.array(data.features)
    features[len(features) // 2, 3] = value
    spoilt = replace(chosen, **{split: FeatureSet(features, np.array(data.labels))})
    tasks = [spoilt if k == task else one for k, one in enumerate(stream.tasks)]
    return replace(stream, tasks=tasks)


@pytest.mark.parametrize("method", METHODS.names())
@pytest.mark.parametrize("value", [np.nan, 1e30], ids=str)
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_every_method_says_that_training_features_are_not_finite(method, value, tmp_path):
    stream = with_bad_rows(small_stream(3), 1, "train", value)
    if method in UNTOUCHED or (method == "foal" and not np.isnan(value)):  # sigmoid(inf) is 1
        run.run(stream, method, small_config(method), tmp_path)
        return
    with pytest.raises(RunDiverged, match="hold features that are not finite") as error:
        run.run(stream, method, small_config(method), tmp_path)
    assert "1 of the" in str(error.value) and "train rows" in str(error.value)
    folder = RunFolder(tmp_path)
    assert folder.status == "diverged" and not folder.results.exists()


@pytest.mark.parametrize("method", METHODS.names())
def test_every_method_says_that_test_features_are_not_finite(method, tmp_path):
    stream = with_bad_rows(small_stream(3), 1, "test", np.nan)
    with pytest.raises(RunDiverged, match=r"1 of the \d+ test rows"):
        run.run(stream, method, small_config(method), tmp_path)


@pytest.mark.parametrize("rate", [100.0, 1e30])
@pytest.mark.parametrize("method", NETWORKS)
def test_at_an_absurd_learning_rate_results_are_of_finite_weights_or_none(method, rate, tmp_path):
    config = small_config(method, learning_rate=rate, epochs=4)
    try:
        run.run(small_stream(3), method, config, tmp_path)
    except RunDiverged as error:
        assert f"learning rate is {rate:g}" in str(error) and "while it learned task" in str(error)
        assert not (tmp_path / "results.json").exists()
    else:
        loaded = RunFolder(tmp_path).load(run.torch.device("cpu"))
        assert loaded is not None and divergence.not_finite(loaded[0]) is None


def test_a_diverged_run_stays_so_when_it_is_resumed(tmp_path):
    stream, config = small_stream(3), small_config("er", learning_rate=1e30)
    with pytest.raises(RunDiverged) as first:
        run.run(stream, "er", config, tmp_path)
    with pytest.raises(RunDiverged) as again:
        run.run(stream, "er", config, tmp_path, resume=True)
    assert str(again.value) == str(first.value)
    marked = read_json(tmp_path / "diverged.json")
    assert marked == {"message": str(first.value), "tasks_learned": 0}


def test_a_method_that_survives_in_some_orders_only_is_not_ranked(tmp_path):
    stream, config = small_stream(2), small_config("er")
    for seed in (0, 1):
        run.run(stream, "er", replace(config, seed=seed), tmp_path / f"er-{seed}")
    run.run(stream, "ncm", small_config("ncm"), tmp_path / "ncm")
    lost = tmp_path / "er-1"
    (lost / "results.json").unlink()
    RunFolder(lost).mark_diverged("er diverged", 1)
    kept, notes = ranked([tmp_path / "er-0", tmp_path / "ncm"], [lost])
    assert kept == [tmp_path / "ncm"]
    assert notes == ["Not ranked: 1 of 2 runs of one setting diverged, er-1."]


@pytest.mark.parametrize("size", [1e5, 1e30, np.nan])
def test_intermediate_features_that_float16_cannot_hold_are_no_results(size, tmp_path, monkeypatch):
    """They are finite when they are computed, and infinite in what BMC sends and keeps."""
    whole = local.stored_phi
    monkeypatch.setattr(local, "stored_phi", lambda *given: whole(*given) * size)
    with pytest.raises(RunDiverged, match="are not finite"):
        run.run(small_stream(3), "bmc", small_config("bmc"), tmp_path)
    assert RunFolder(tmp_path).status == "diverged"
