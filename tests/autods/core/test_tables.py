"""Tables in a terminal: at any width, names stay and whatever is dropped is named."""

import io
from collections.abc import Callable
from contextlib import redirect_stdout

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from autods.core.console import print_table
from autods.core.tables import Column, fit, print_columns

WORD = st.text("abcdefgh", min_size=1, max_size=9)
HEAD = st.lists(WORD, min_size=1, max_size=3).map(" ".join)
NAME = st.text("ABCDEFGH ", min_size=1, max_size=40).map(lambda text: f"N{text}".strip())
VALUES = st.lists(
    st.tuples(HEAD, st.integers(1, 12), st.integers(0, 9)),
    min_size=1, max_size=14, unique_by=lambda value: value[0],
)  # fmt: skip
ANYTHING = st.text(st.characters(codec="utf-8"), max_size=90)


def printed(width: int, show: Callable[[], None]) -> list[str]:
    out = io.StringIO()
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(out):
        patch.setenv("COLUMNS", str(width))
        show()
    return out.getvalue().split("\n")[:-1]


@given(st.lists(NAME, min_size=1, max_size=30), VALUES, st.integers(60, 200))
def test_at_any_width_names_and_values_are_whole_and_dropped_columns_named(names, values, width):
    columns = [Column("method", names, name=True)]
    columns += [
        Column(head, ["9" * digits] * len(names), number=True, priority=priority)
        for head, digits, priority in values
    ]
    lines = printed(width, lambda: print_columns(columns, more="all.csv"))
    assert max(map(len, lines)) <= width
    shown, _, _ = fit(columns, width)
    dropped = [column.head for column in columns if column not in shown]
    said = " ".join(lines).partition("Left out for width: ")[2].split()
    expected = f"{', '.join(dropped)}; see all.csv or a wider terminal." if dropped else ""
    assert said == expected.split()
    rows = [line for line in lines if line.startswith("N")]
    header = "".join(lines[: lines.index(rows[0])]).replace(" ", "")
    assert sorted(header) == sorted("".join(c.head for c in shown).replace(" ", ""))
    for name, row in zip(names, rows, strict=True):
        assert row.startswith(name)
        assert row[len(name) :].split() == [column.cells[0] for column in shown[1:]]


@given(st.lists(st.tuples(*[ANYTHING] * 4), min_size=1, max_size=4), st.integers(60, 200))
def test_text_from_outside_neither_widens_a_table_nor_commands_the_terminal(rows, width):
    dicts = [dict(zip(("name", "about", "from", "path"), row, strict=True)) for row in rows]
    lines = printed(width, lambda: print_table("", dicts, ["from"]))
    assert all(line.isprintable() for line in lines)
    assert max(map(cell_len, lines)) <= width


def test_of_values_that_do_not_fit_the_least_important_go_first_and_of_equals_the_last():
    names = Column("name", ["x" * 20], name=True)
    values = [Column(f"{k}{k}", ["9" * 9], number=True, priority=k // 2) for k in range(6)]
    heads = [[c.head for c in fit([names, *values], width)[0]] for width in (80, 70, 60, 50, 40)]
    assert heads == [
        ["name", "00", "11", "22", "33", "44", "55"],
        ["name", "00", "11", "22", "33", "44"],
        ["name", "00", "11", "22", "33"],
        ["name", "00", "11", "22"],
        ["name", "00", "11"],
    ]


def test_headers_wrap_and_blanks_between_columns_give_way_before_a_value_is_dropped():
    names = Column("name", ["x" * 20], name=True)
    values = [Column("many words", ["9" * 9], number=True) for _ in range(4)]
    assert fit([names, *values], 68) == ([names, *values], [20, 10, 10, 10, 10], 2)
    assert fit([names, *values], 64) == ([names, *values], [20, 9, 9, 9, 9], 2)
    assert fit([names, *values], 60) == ([names, *values], [20, 9, 9, 9, 9], 1)
    assert fit([names, *values], 59)[0] == [names, *values[:3]]


def test_a_name_wraps_at_words_only_where_it_has_more_than_half_of_the_width():
    long = "a name of words that go on and on until they fill more than a line of a terminal"
    lines = printed(60, lambda: print_columns([Column("name", [long], name=True),
                                               Column("value", ["9.9"], number=True)]))  # fmt: skip
    assert [line.split() for line in lines[:1]] == [["name", "value"]]
    assert " ".join(" ".join(lines[1:]).replace("9.9", "").split()) == long
    assert max(map(len, lines)) <= 60


def test_a_text_that_may_be_cut_says_so_by_an_ellipsis_and_others_wrap():
    row = {"name": "n", "about": "word " * 20, "licence": "Z" * 90}
    lines = printed(60, lambda: print_table("Things", [row], ["licence"]))
    assert lines[0] == "Things"
    assert sum("…" in line for line in lines) == 1
    assert sum(line.count("word") for line in lines) == 20


def test_without_a_terminal_a_table_may_have_100_columns(monkeypatch, capsys):
    monkeypatch.delenv("COLUMNS", raising=False)
    print_table("", [{f"column {k:03}": "9" * 10 for k in range(20)}])
    lines = capsys.readouterr().out.splitlines()
    assert 80 < max(map(len, lines)) <= 100


def test_sizes_and_counts_that_are_texts_stand_to_the_right_as_numbers_do():
    sizes = ["~ 60.0 MB", "1.4 GB", "2 bytes", "3.0 kB + ?", "?"]
    rows = [{"name": "n", "size": size, "files": "1 of 1", "state": "-"} for size in sizes]
    head, *lines = printed(60, lambda: print_table("", rows))
    ends = {line.index(size) + len(size) for line, size in zip(lines, sizes, strict=True)}
    assert ends == {head.index("size") + len("size")}
    assert {line.index("1 of 1") for line in lines} == {head.index("files")}
    assert {line.rindex("-") for line in lines} == {head.index("state")}
