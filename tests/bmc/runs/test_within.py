"""A run's progress moves within groups and long tasks, whatever the method, and resumes."""

from dataclasses import dataclass, field

import pytest
from small import CPU, small_config, small_stream, tensors

from autods.core.progress import Progress
from bmc.engines import LocalEngine
from bmc.methods import METHODS
from bmc.runs.run import run
from bmc.train import loop
from bmc.train.movement import listening


@dataclass
class Seen(Progress):
    """Remembers what a bar would have shown."""

    done: int = 0
    total: int = 0
    shown: list[float] = field(default_factory=list)
    details: list[str] = field(default_factory=list)

    def start(self, title: str, total: int | None, unit: str, done: int = 0) -> None:
        assert unit == "tasks"
        self.total, self.done = total or 0, done
        self.shown.append(float(done))

    def advance(self, amount: int) -> None:
        self.done += amount
        self.shown.append(float(self.done))

    def partly(self, amount: float) -> None:
        self.shown.append(self.done + amount)

    def detail(self, text: str) -> None:
        self.details.append(text)


@pytest.mark.parametrize("method", METHODS.names())
def test_the_bar_of_every_method_moves_forward_only_and_ends_with_the_tasks(method, tmp_path):
    seen = Seen()
    run(small_stream(3), method, small_config(method, epochs=1, experts=2), tmp_path / "a",
        report=seen)  # fmt: skip
    assert seen.shown == sorted(seen.shown)
    assert (seen.shown[0], seen.shown[-1], seen.total) == (0.0, 3.0, 3)


LONG = ["bmc", "finetune", "er", "dmc", "gdumb", "icarl", "bmc-analytic"]


@pytest.mark.parametrize("method", LONG)
def test_the_bar_moves_within_a_group(method, tmp_path):
    seen = Seen()
    config = small_config(method, epochs=40, experts=3)
    run(small_stream(3), method, config, tmp_path / "a", report=seen)
    if method != "bmc-analytic":  # whose blocks are larger than these tasks, see below
        assert [amount for amount in seen.shown if amount % 1]
    assert any("measuring" in text for text in seen.details)
    said = {"bmc": ("experts", "consolidation"), "dmc": ("expert", "consolidation")}
    for word in said.get(method, ("learning",)):
        assert any(f": {word} " in text for text in seen.details)


@pytest.mark.parametrize("method", ["slda", "ncm", "acil"])
def test_closed_forms_tell_of_each_block_of_samples(method):
    stream = small_stream(2)
    made = METHODS.get(method)(stream.dim, stream.n_classes, small_config(method), CPU)
    task, shares = tensors(stream)[0], []
    with listening(lambda share, text: shares.append((share, text)), "learning"):
        list(made.blocks(task, size=len(task.train) // 4))
    assert [share for share, _ in shares][:3] == pytest.approx([0, 0.25, 0.5], abs=0.05)
    assert shares[1][1].startswith("learning ") and shares[1][1].endswith(" samples")


def test_experts_in_workers_tell_how_far_they_are(tmp_path):
    alone, beside = Seen(), Seen()
    config = small_config("bmc", epochs=2, experts=3)
    run(small_stream(3), "bmc", config, tmp_path / "a", report=alone)
    engine = LocalEngine(["cpu", "cpu"], start=0)
    try:
        run(small_stream(3), "bmc", config, tmp_path / "b", report=beside, engine=engine)
    finally:
        engine.close()
    assert any("experts" in text and "%" in text for text in beside.details)
    assert [amount for amount in beside.shown if 0 < amount < 1]
    assert beside.shown == sorted(beside.shown)
    for name in ("results.json", "samples.safetensors"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


def test_a_resumed_run_begins_at_the_tasks_that_are_learned(tmp_path, monkeypatch):
    config = small_config("bmc", experts=2)
    trained = loop.train_stacked
    calls = []

    def broken(*arguments: object, **options: object) -> list[int]:
        calls.append(1)
        if len(calls) > 2:
            raise KeyboardInterrupt
        return trained(*arguments, **options)  # type: ignore[arg-type]

    monkeypatch.setattr("bmc.engines.local.train_stacked", broken)
    with pytest.raises(KeyboardInterrupt):
        run(small_stream(6), "bmc", config, tmp_path / "a")
    monkeypatch.undo()
    seen = Seen()
    run(small_stream(6), "bmc", config, tmp_path / "a", report=seen, resume=True)
    assert seen.shown[0] == 4.0
    assert seen.shown[-1] == 6.0
