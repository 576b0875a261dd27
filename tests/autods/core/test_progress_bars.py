"""What the bars of a command say at every width, in a notebook, and where there are none."""

import io
import re
import sys
from concurrent.futures import ThreadPoolExecutor
from types import ModuleType, SimpleNamespace

import pytest
from rich.console import Console
from terminals import written

from autods.core.progress import Board, console_board, console_progress
from autods.core.progress_bars import Bar, table
from autods.core.progress_screens import Screen

PROGRAM = """
import time
from autods.core.progress import console_board
with console_board(71, in_turn="dataset") as board:
    board.ended()
    board.ended()
    progress = board.of("")
    progress.start("dtd10: features by mobilenetv2.imagenet", 2820, "images")
    progress.detail("decode 35/s, encode 30/s, encoder waits 3%")
    time.sleep(2.1)
    progress.advance(1234)
    time.sleep(0.5)
"""


@pytest.fixture
def clock(monkeypatch):
    """Replace the clock of progress: ``clock[0]`` seconds."""
    now = [0.0]
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    return now


def drawn(bar: Bar, width: int) -> str:
    screen = io.StringIO()
    Console(file=screen, width=width, color_system=None).print(table([bar], width))
    (line,) = screen.getvalue().splitlines()
    return line.rstrip()


@pytest.mark.parametrize("width", [200, 120, 100, 80, 72, 60, 50, 40, 32, 24])
@pytest.mark.parametrize(
    ("title", "total", "unit", "done"),
    [
        ("dtd10: features by mobilenetv2.imagenet", 2820, "images", 1410),
        ("imagenet: features by ViT-B-32.laion2b_s34b_b79k", 1_331_167, "images", 665_583),
        ("BMC", 71, "tasks", 35),
        ("cats: a_long_name_of_an_archive.zip", 4_000_000_000, "bytes", 2_000_000_000),
    ],
)
def test_bar_amount_and_time_left_are_there_at_every_width(clock, width, title, total, unit, done):
    bar = Bar(title, total, unit)
    bar.detail = "decode 35/s, encode 30/s, encoder waits 3%"
    clock[0] = 60.0
    bar.advance(done)
    line = drawn(bar, width)
    assert len(line) <= width
    assert re.search("[━╸╺]", line)
    assert re.search(r"[\d.,]+[kM]?/[\d.,]+[kM]?", line)
    assert line.endswith(("0:01:00", "0:01:02"))


def test_details_go_before_titles_and_titles_before_amounts(clock):
    bar = Bar("dtd10: features by mobilenetv2.imagenet", 2820, "images")
    bar.detail = "decode 35/s, encode 30/s, encoder waits 3%"
    clock[0] = 60.0
    bar.advance(1234)
    wide, middle, narrow = (drawn(bar, width) for width in (120, 80, 40))
    assert "decode 35/s, encode 30/s, encoder waits" in wide
    assert middle.startswith("dtd10: features by mobilenetv2.imagenet ")
    assert "decode" not in middle
    assert "1,234/2,820 images" in middle
    assert narrow.startswith("dtd10: fe")
    assert "1,234/2,820" in narrow


def test_time_left_counts_what_this_run_has_done_and_what_is_done_partly(clock):
    bar = Bar("BMC", 71, "tasks", done=40)
    clock[0] = 10.0
    assert bar.left() is None
    bar.part = 4.0
    assert bar.left() == pytest.approx(27 / 4 * 10)
    bar.advance(8)
    assert bar.left() == pytest.approx(23 / 8 * 10)


def test_of_several_in_turn_a_plain_line_says_which_and_how_long_all_will_take(clock, capsys):
    with console_board(3, in_turn="dataset", weights=[100, 300, 0]) as board:
        progress = board.of("")
        progress.start("cats: features", 100, "images")
        clock[0] = 10.0
        progress.advance(50)
        clock[0] = 20.0
        progress.advance(50)
        progress.finish()  # no line: one was printed just now
        board.ended()
        progress.start("dogs: features", 300, "images")
        clock[0] = 50.0
        progress.advance(150)
        progress.partly(1.5)  # no line: one was printed just now
        progress.note("dogs: a note is always printed")
    assert capsys.readouterr().err.splitlines() == [
        "cats: features: 50 of 100 images, 10.0 s, about 10 s left"
        " (dataset 1 of 3, about 70 s for all)",
        "cats: features: 100 of 100 images, 20.0 s, about 0 s left"
        " (dataset 1 of 3, about 60 s for all)",
        "dogs: features: 150 of 300 images, 30.0 s, about 30 s left"
        " (dataset 2 of 3, about 30 s for all)",
        "dogs: a note is always printed",
    ]


def test_the_total_does_not_fall_between_two_steps_of_one_dataset(clock):
    board = Board(2, in_turn="dataset")
    progress = board.of("")
    shown = []
    for _ in range(2):
        progress.start("features", 10, "images")
        progress.advance(10)
        shown.append(board._rows()[-1].done)
        progress.finish()
        shown.append(board._rows()[-1].done)
        progress.start("writing", None, "bytes")
        shown.append(board._rows()[-1].done)
        progress.finish()
        board.ended()
        shown.append(board._rows()[-1].done)
    assert shown == [50, 50, 50, 50, 100, 100, 100, 100]


def test_lines_of_many_short_steps_are_at_most_one_in_ten_seconds(clock, capsys):
    with console_board(200, in_turn="method") as board:
        progress = board.of("")
        for _ in range(200):
            progress.start("a method", 10, "tasks")
            clock[0] += 0.5
            progress.advance(10)
            progress.finish()
            board.ended()
    assert 10 <= len(capsys.readouterr().err.splitlines()) <= 11


def test_steps_at_once_share_one_line_in_ten_seconds(clock, capsys):
    board = console_board(8, interval=10.0)
    steps = [board.of(f"set{k}") for k in range(8)]
    for step in steps:
        step.start("a.zip", 1000, "bytes")
    for _ in range(100):
        clock[0] += 1.0
        for step in steps:
            step.advance(1)
    assert 9 <= len(capsys.readouterr().err.splitlines()) <= 10


def test_the_totals_of_transfers_say_how_long_all_of_them_will_take(clock):
    board = Board(3)
    cats = board.of("cats")
    cats.start("cats.zip", 4000, "bytes")
    board.expect(10_000, least=True)
    clock[0] = 100.0
    cats.advance(2500)
    *_, totals = board._rows()
    assert totals.clock() == "0:05:00+"
    assert totals.title == "total"


def test_quiet_progress_prints_nothing(capsys):
    with console_board(2, quiet=True, in_turn="dataset") as board:
        for progress in (board.of(""), console_progress(quiet=True)):
            progress.start("cats", 10, "images")
            progress.note("a note")
            progress.advance(10)
            progress.finish()
    assert capsys.readouterr() == ("", "")


def on_a_terminal(width: int) -> str:
    """Return what the program draws last on a terminal of this width."""
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", written(PROGRAM, columns=width))


WIDTHS = (80, 60, 40)


@pytest.fixture(scope="module")
def terminals() -> dict[int, str]:
    """What the program draws last by width; it waits for its clock, on all of them at once."""
    with ThreadPoolExecutor(len(WIDTHS)) as pool:
        return dict(zip(WIDTHS, pool.map(on_a_terminal, WIDTHS), strict=True))


@pytest.mark.parametrize("width", WIDTHS)
def test_a_terminal_of_this_width_shows_bar_amount_time_and_which_dataset_it_is(width, terminals):
    lines = re.split(r"[\r\n]+", terminals[width])
    step = next(line.rstrip() for line in lines if "1,234/2,820" in line)
    assert re.search("[━╸╺]", step)
    assert step.endswith(("0:00:02", "0:00:03"))
    assert len(step) <= width
    totals = [line for line in lines if line.startswith("dataset 3 of 71")]
    assert re.search(r"3 % +0:0\d:\d\d", totals[-1])


class Display:
    """Stands for the display of a notebook; remembers what it shows."""

    def __init__(self) -> None:
        self.shown: list[dict[str, str]] = []

    def __call__(self, data: dict[str, str], *, raw: bool, display_id: bool) -> "Display":
        assert raw and display_id
        self.shown.append(data)
        return self

    def update(self, data: dict[str, str], *, raw: bool) -> None:
        assert raw
        self.shown.append(data)


def test_a_notebook_draws_the_same_bars_in_place(clock, monkeypatch, capsys):
    display = Display()
    package, module = ModuleType("IPython"), ModuleType("IPython.display")
    package.get_ipython = lambda: SimpleNamespace(kernel=object())
    module.display = display
    monkeypatch.setitem(sys.modules, "IPython", package)
    monkeypatch.setitem(sys.modules, "IPython.display", module)
    with console_board(2, in_turn="dataset") as board:
        progress = board.of("")
        progress.start("<cats>: features", 100, "images")
        clock[0] = 10.0
        progress.advance(50)
        shown = display.shown[-1]
        progress.finish()
        board.ended()
    assert "&lt;cats&gt;: features" in shown["text/html"]
    assert '<progress value="50" max="100"' in shown["text/html"]
    for text in ("50/100 images", "0:00:10", "dataset 1 of 2", "25 %", "0:00:30"):
        assert text in shown["text/html"]
    assert shown["text/plain"].startswith("<cats>: features: 50/100 images")
    assert display.shown[-1] == {"text/plain": "", "text/html": ""}
    assert capsys.readouterr().err == "<cats>: features: 50/100 images, 10.0 s (dataset 1 of 2)\n"


def test_a_board_without_a_screen_draws_nowhere():
    assert not Board().live
    assert not Screen(Console(file=io.StringIO())).draws
