"""The examples of interop run and print what the documentation shows beside them."""

import re
import runpy
import warnings
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).resolve().parents[3] / "docs" / "examples"
NAMES = sorted(path.stem for path in EXAMPLES.glob("*.txt"))
NUMBER = re.compile(r"\d+(?=%)|(?<=\s)\d+(?=\s)")  # accuracies, which differ between processors


def test_every_example_but_the_one_for_another_program_has_its_output():
    assert {path.stem for path in EXAMPLES.glob("*.py")} - {"mammoth_dataset"} == set(NAMES)
    assert len(NAMES) >= 6
    for path in EXAMPLES.glob("*.py"):
        assert len(path.read_text(encoding="utf-8").splitlines()) < 40, path


@pytest.mark.parametrize("name", NAMES)
def test_an_example_prints_what_is_shown(name, capsys):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # those of the other library
        runpy.run_path(str(EXAMPLES / f"{name}.py"), run_name="__main__")
    printed = capsys.readouterr().out
    shown = (EXAMPLES / f"{name}.txt").read_text(encoding="utf-8")
    assert NUMBER.sub("#", printed) == NUMBER.sub("#", shown)
    found, expected = (list(map(int, NUMBER.findall(text))) for text in (printed, shown))
    assert found == pytest.approx(expected, abs=6)
