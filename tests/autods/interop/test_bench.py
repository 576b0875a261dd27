"""The benchmark of interop runs, in small; what it measures is not judged here."""

import json
import runpy
import sys
from pathlib import Path
from typing import Any

import pytest

SCRIPTS = Path(__file__).resolve().parents[3] / "scripts"


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Any:
    monkeypatch.syspath_prepend(SCRIPTS / "bench")

    def run(*options: str) -> dict[str, Any]:
        monkeypatch.setattr(sys, "argv", ["interop.py", "--json", *options])
        runpy.run_path(str(SCRIPTS / "bench" / "interop.py"), run_name="__main__")
        found: dict[str, Any] = json.loads(capsys.readouterr().out.splitlines()[-1])
        return found

    return run


def test_methods_of_others_are_measured_beside_ours(bench):
    found = bench("accuracy", "--tasks", "3", "--epochs", "2", "--memory", "30")
    rows = {row["method"]: row for row in found["rows"]}
    assert {"er (ours)", "Avalanche Replay", "slda (ours)", "Avalanche StreamingLDA"} <= set(rows)
    assert rows["Avalanche Replay"]["updates"] >= rows["er (ours)"]["updates"] > 0
    assert all(0 <= row["final_mean"] <= 1 for row in rows.values())
    assert rows["Avalanche StreamingLDA"]["final_mean"] == pytest.approx(
        rows["slda (ours)"]["final_mean"], abs=0.1
    )


def test_every_adapter_gives_as_many_batches_as_the_stream_itself(bench):
    found = bench("overhead", "--samples", "200", "--dim", "8", "--rounds", "1")
    assert len(found["rows"]) == 9
    assert found["rows"][0]["ratio"] == 1
