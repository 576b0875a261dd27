"""Nothing that a file or server says commands a terminal."""

import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st
from terminals import written

from autods.errors import AutodsError, ContainerError, LinkGone, visible

EVIL = "\x1b]0;pwned\x07\x1b[2J\x1b[31mred\x9b31m\r\x08\u202egpj.\x7f"
PRINTS = f"""
import sys
from autods.core.output import make_printable
from autods.core.progress import console_progress
make_printable()
print({EVIL!r}, "\\x1b[1mbold\\x1b[0m")
print({EVIL!r}, file=sys.stderr)
progress = console_progress()
progress.start({EVIL!r}, 2, "files")
progress.note({EVIL!r})
progress.detail({EVIL!r})
progress.advance(2)
progress.finish()
"""


@given(st.text())
def test_what_is_visible_is_printable_or_white_space_and_other_text_stays(text):
    shown = visible(text)
    assert not set(shown) & {"\x1b", "\x9b", "\r", "\x08", "\x07", "\x7f", "\u202e"}
    if text.isprintable():
        assert shown == text


@pytest.mark.parametrize("error", [
    AutodsError(EVIL), ContainerError.at(EVIL, EVIL, EVIL), LinkGone(EVIL, EVIL, dataset="x"),
])  # fmt: skip
def test_the_message_of_an_error_shows_what_would_command_a_terminal(error):
    assert r"\x1b]0;pwned\x07" in str(error)
    assert "\x1b" not in str(error) and "\u202e" not in str(error)


def test_printed_text_and_progress_are_shown_in_a_pipe_without_any_command():
    done = subprocess.run([sys.executable, "-c", PRINTS], capture_output=True, check=True)
    for printed in (done.stdout.decode(), done.stderr.decode()):
        assert r"\x1b]0;pwned\x07\x1b[2J" in printed
        assert not set(printed) & {"\x1b", "\x9b", "\r", "\x08", "\x07", "\x7f", "\u202e"}
    assert done.stderr.decode().count("pwned") >= 3


def test_on_a_terminal_bold_text_and_bars_stay_and_nothing_else_commands_it():
    printed = written(PRINTS).encode()
    assert b"\x1b[1mbold\x1b[0m" in printed
    assert rb"\x1b]0;pwned\x07" in printed
    assert not [command for command in (b"\x1b]", b"\x07", b"\x1b[2J") if command in printed]
