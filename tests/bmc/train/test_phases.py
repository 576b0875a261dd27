import pytest
import torch

from bmc.train import phases


def test_time_belongs_to_the_innermost_phase(monkeypatch):
    now = [100.0]
    monkeypatch.setattr(phases.time, "perf_counter", lambda: now[0])
    watch = phases.Stopwatch("start")
    watch.add({"train": 5.0, "other": 2.0})  # of a run that is resumed
    now[0] += 3
    watch.continue_as("other")
    with pytest.raises(KeyError), watch.phase("train", torch.device("cpu")):
        now[0] += 1
        with watch.phase("memory"):
            now[0] += 10
        now[0] += 0.5
        raise KeyError
    now[0] += 4
    expected = {"train": 6.5, "other": 6.0, "start": 3.0, "memory": 10.0}
    assert watch.whole() == watch.seconds == expected
