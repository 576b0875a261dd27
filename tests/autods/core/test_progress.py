"""Progress of one step and of several datasets at once, on terminals and elsewhere."""

import io
import re
from collections.abc import Callable
from threading import Barrier, Thread

import pytest
from rich.console import Console
from terminals import written

from autods.core.progress import Board, Progress, Stopped, console_board
from autods.core.progress_screens import Screen, TerminalScreen

PROGRAM = """
import sys
from autods.core.progress import console_board
with console_board(int(sys.argv[1])) as board:
    progress = board.of("cats")
    progress.note("fetching cats/cats.zip")
    progress.start("cats.zip", 5000, "bytes")
    progress.advance(5000)
    progress.finish()
    board.ended()
    board.note("cats: done (1 of 2)")
"""


def in_threads(*works: Callable[[], None]) -> None:
    threads = [Thread(target=work) for work in works]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def transfer(progress: Progress, blocks: int = 50) -> None:
    progress.note("fetching\nfrom afar")
    progress.start("a.zip", blocks * 1000, "bytes")
    for _ in range(blocks):
        progress.advance(1000)
    progress.finish()


def test_lines_of_several_datasets_are_whole_and_begin_with_their_dataset(capsys):
    names = [f"set{number}" for number in range(8)]
    together = Barrier(len(names))

    def work(name: str) -> None:
        together.wait()
        for _ in range(20):
            transfer(board.of(name), 2)

    with console_board(len(names)) as board:
        in_threads(*[lambda name=name: work(name) for name in names])
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 8 * 20 * 3
    form = r"set\d: (fetching|from afar|a\.zip: 2,000 of 2,000 bytes, \d\.\d s)"
    assert [line for line in lines if not re.fullmatch(form, line)] == []
    of_one = [line.partition(": ")[2] for line in lines if line.startswith("set3: ")]
    assert of_one[:2] == ["fetching", "from afar"]


def test_a_long_transfer_speaks_every_interval_and_a_short_one_once(capsys, monkeypatch):
    clock = [0.0]
    monkeypatch.setattr("autods.core.progress.time.monotonic", lambda: clock[0])
    progress = console_board(2).of("cats")
    progress.start("a.zip", None, "bytes")
    for _ in range(10):
        clock[0] += 25.0
        progress.advance(1000)
    progress.finish()
    assert capsys.readouterr().err.splitlines() == [
        "cats: a.zip: 3,000 bytes, 75.0 s",
        "cats: a.zip: 6,000 bytes, 150.0 s",
        "cats: a.zip: 9,000 bytes, 225.0 s",
        "cats: a.zip: 10,000 bytes, 250.0 s",
    ]


def test_a_stopped_board_ends_its_threads_at_their_next_report():
    screen = io.StringIO()
    board = Board(screen=Screen(Console(file=screen)))
    progress = board.of("cats")
    progress.start("a.zip", None, "bytes")
    board.stop()
    for report in (lambda: progress.advance(1), lambda: progress.note("trying again")):
        with pytest.raises(Stopped):
            report()
    with pytest.raises(Stopped):
        board.of("dogs").start("b.zip", None, "bytes")
    progress.finish()
    assert screen.getvalue() == ""
    assert not issubclass(Stopped, Exception)


def drawn() -> tuple[Board, Callable[[], list[str]]]:
    """Return a board for three datasets, and what gives the lines drawn so far, without codes."""
    screen = io.StringIO()
    console = Console(file=screen, force_terminal=True, width=80, color_system=None)

    def lines() -> list[str]:
        plain = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", screen.getvalue())
        return [line for line in re.split(r"[\r\n]", plain) if line.strip()]

    return Board(3, TerminalScreen(console)), lines


def test_each_running_step_has_a_bar_and_the_totals_stand_below():
    board, lines = drawn()
    with board:
        mice, cats, dogs = (board.of(name) for name in ("mice", "cats", "domainnet_sketch"))
        for progress, title, total, unit, done in (
            (mice, "mice.zip", None, "bytes", 500_000),
            (cats, "cats.zip", 4_000_000, "bytes", 1_000_000),
            (dogs, "a_long_name_of_an_archive.zip", 10, "files", 3),
        ):
            progress.start(title, total, unit)
            progress.advance(done)
        mice.finish()
        board.ended()
    *before, second, third, totals = lines()
    assert any(line.startswith("mice: mice.zip: 500.0 kB, ") for line in before)
    assert second.startswith("cats: cats.zip ")
    assert "1.0/4.0 MB" in second
    assert third.startswith("domainnet_sketch: a_")
    assert "3/10 files" in third
    assert totals.startswith("total ")
    assert "1/3 datasets" in totals
    assert "1.5 MB" in totals
    assert ":" not in totals  # no remaining time: one dataset takes seconds, another days
    assert max(map(len, lines())) <= 80


def test_threads_share_the_bars_and_the_totals_miss_nothing():
    board, lines = drawn()
    names = [f"set{number}" for number in range(6)]
    with board:
        in_threads(*[lambda name=name: transfer(board.of(name), 200) for name in names])
    assert "1.2 MB" in lines()[-1]
    for name in names:
        assert f"{name}: from afar" in lines()
        assert any(line.startswith(f"{name}: a.zip: 200.0/200.0 kB, ") for line in lines())


@pytest.mark.parametrize(("count", "totals"), [(1, False), (2, True)])
def test_a_terminal_gets_bars_and_a_line_of_totals_only_where_there_are_several(count, totals):
    shown = written(PROGRAM, str(count))
    assert "\x1b[" in shown
    assert "cats.zip" in shown
    assert ("cats: fetching cats/cats.zip" in shown) == totals
    assert ("datasets" in shown) == totals
