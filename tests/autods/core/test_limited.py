"""The child process for parsers: what it answers, and what becomes of one that misbehaves."""

import ctypes
import io
import os
import resource
import time
from pathlib import Path

import pytest

from autods.core import limited
from autods.core.limited import ParserFailed, call, stream
from autods.core.slices import open_slice
from autods.errors import LayoutError

HERE = "tests.autods.core.test_limited"


def content(handle, more):
    return handle.read() + more


def process(handle):
    return os.getpid()


def numbers(handle, count):
    yield from range(count)


def crash(handle):
    ctypes.string_at(8)


def exits(handle):
    os._exit(3)


def memory(handle, size):
    return len(bytearray(size))


def endless(handle):
    while True:
        pass


def refuses(handle):
    raise LayoutError("a file that is refused")


def fails(handle):
    raise KeyError("x")


def nested(handle):
    value: list = []
    for _ in range(100_000):
        value = [value]
    return value


def test_it_reads_bytes_files_windows_and_what_has_no_descriptor(tmp_path):
    path = tmp_path / "x"
    path.write_bytes(b"0123456789")
    assert call(f"{HERE}:content", b"ab", b"c") == b"abc"
    assert call(f"{HERE}:content", io.BytesIO(b"ab"), b"c") == b"abc"
    with path.open("rb") as handle, open_slice(path, 2, 5) as window:
        assert call(f"{HERE}:content", handle, b"") == b"0123456789"
        assert call(f"{HERE}:content", window, b"") == b"23456"


def test_one_child_answers_many_calls_and_another_while_items_are_taken():
    first = call(f"{HERE}:process", b"")
    assert first != os.getpid()
    assert call(f"{HERE}:process", b"") == first
    items = stream(f"{HERE}:numbers", b"", 3)
    assert next(items) == 0
    assert call(f"{HERE}:process", b"") != first
    assert list(items) == [1, 2]


@pytest.mark.parametrize(("function", "kind", "text"), [
    ("crash", "Crash", r"crashed \(signal 11\)"), ("exits", "Crash", r"crashed \(exit code 3\)"),
    ("fails", "KeyError", "x"), ("nested", "RecursionError", "recursion"),
])  # fmt: skip
def test_whatever_happens_in_the_child_is_an_error_and_the_next_call_works(function, kind, text):
    with pytest.raises(ParserFailed, match=text) as caught:
        call(f"{HERE}:{function}", b"")
    assert caught.value.kind == kind
    assert call(f"{HERE}:content", b"ab", b"") == b"ab"


def test_memory_is_bounded_by_the_size_of_the_input():
    with pytest.raises(ParserFailed, match="needs more than 512 MB of memory"):
        call(f"{HERE}:memory", b"", 1 << 30)
    assert call(f"{HERE}:memory", bytes(1 << 26), 1 << 30) == 1 << 30


def test_time_is_bounded(monkeypatch):
    monkeypatch.setattr(limited, "SECONDS", 0.2)
    began = time.monotonic()
    with pytest.raises(ParserFailed, match="was not read in"):
        call(f"{HERE}:endless", b"")
    assert time.monotonic() - began < 10


def test_errors_of_this_package_come_as_they_are():
    with pytest.raises(LayoutError, match="a file that is refused"):
        call(f"{HERE}:refuses", b"")


def test_without_a_child_the_same_functions_answer_here(monkeypatch):
    monkeypatch.setattr(limited, "AVAILABLE", False)
    assert call(f"{HERE}:process", b"") == os.getpid()
    assert list(stream(f"{HERE}:numbers", b"", 3)) == [0, 1, 2]
    with pytest.raises(ParserFailed, match="x"):
        call(f"{HERE}:fails", b"")


def test_a_child_that_has_ended_meanwhile_is_replaced():
    first = call(f"{HERE}:process", b"")
    os.kill(first, 9)
    while limited._idle[-1].usable:
        time.sleep(0.01)
    assert call(f"{HERE}:process", b"") != first


def leaves(handle):
    os._exit(0)  # as one that was idle for long does, in the moment in which it is asked


def test_a_child_that_leaves_while_it_is_asked_is_replaced_once():
    call(f"{HERE}:process", b"")
    with pytest.raises(ParserFailed, match="exit code 0"):
        call(f"{HERE}:leaves", b"")
    assert not limited._idle


def test_a_process_with_more_than_1024_open_files_has_a_child_too():
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(4096, hard), hard))
    limited._idle.clear()
    opened = []
    try:
        while not opened or opened[-1] < 1100:
            opened.append(os.open(os.devnull, os.O_RDONLY))
        assert call(f"{HERE}:content", b"ab", b"c") == b"abc"
        with Path(__file__).open("rb") as handle:
            assert call(f"{HERE}:content", handle, b"").startswith(b'"""')
    finally:
        for descriptor in opened:
            os.close(descriptor)
        limited._idle.clear()
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
