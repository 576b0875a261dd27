import collections
import contextlib
import io
import os
import pickle
import struct
import subprocess
import time
from collections.abc import Iterable
from pathlib import Path, PurePosixPath, PureWindowsPath

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from autods.core import limited
from autods.core.pickles import ALLOWED, load
from autods.errors import UnsafePickle

PROTOCOLS = range(pickle.HIGHEST_PROTOCOL + 1)


class Reduced:
    """Pickles as a call of ``function(*args)``."""

    def __init__(self, function, *args) -> None:
        self.parts = function, args

    def __reduce__(self):
        return self.parts


class Own:
    def __init__(self) -> None:
        self.value = 1


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize(("make", "name"), [
    (lambda path: Reduced(os.system, f"touch {path}"), "system"),
    (lambda path: Reduced(eval, f"open({str(path)!r}, 'w')"), "eval"),
    (lambda path: Reduced(exec, f"open({str(path)!r}, 'w')"), "exec"),
    (lambda path: Reduced(subprocess.Popen, ["touch", str(path)]), "Popen"),
    (lambda path: Reduced(Path.touch, path), r"Path|getattr|touch"),
    (lambda path: Reduced(getattr, "text", "upper"), "getattr"),
    (lambda path: Own(), r"Own|_reconstructor"),
    (lambda path: [1, {"deep": (Reduced(open, str(path), "w"),)}], "open"),
    (lambda path: np.save, "save"),
    (lambda path: collections.Counter("abc"), "Counter"),
])  # fmt: skip
def test_what_asks_for_more_than_data_is_refused_by_name_not_run(tmp_path, make, name, protocol):
    path = tmp_path / "evil"
    data = pickle.dumps(make(path), protocol=protocol)
    with pytest.raises(UnsafePickle, match=rf"asks for '[\w.]*({name})'.*Do not trust"):
        load(data, encoding="bytes")
    assert not path.exists()


@pytest.mark.parametrize("data", [
    b"cos\nsystem\n(S'touch evil'\ntR.",
    b"(S'touch evil'\nios\nsystem\n.",
    b"c__builtin__\neval\n(S'1'\ntR.",
    b"\x80\x04\x8c\x05numpy\x8c\x0endarray.tofile\x93.",
    b"\x80\x04\x8c\x12numpy.core.numeric\x8c\x05fromf\x93.",
    b"cnumpy\nload\n(S'evil'\ntR.",
    b"ccopy_reg\n_reconstructor\n(c__builtin__\nobject\nc__builtin__\nobject\nNtR.",
])  # fmt: skip
def test_hand_written_pickles_are_refused_too(data):
    with pytest.raises(UnsafePickle):
        load(data)


DATA = [
    None, True, 3, 2**70, 1.5, 2 + 3j, "text", b"bytes", bytearray(b"b"), (1, (2,)), [1, [2]],
    {"a": {"b": 1}}, {1, 2}, frozenset([1]), collections.OrderedDict(a=1),
]  # fmt: skip


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("value", DATA, ids=repr)
def test_plain_data_is_loaded_from_every_protocol(value, protocol):
    found = load(pickle.dumps(value, protocol=protocol))
    assert found == value
    assert type(found) is type(value)


ARRAYS = [
    np.arange(12, dtype=np.uint8).reshape(3, 4), np.arange(3.0), np.zeros((0, 2), np.int64),
    np.asfortranarray(np.arange(6).reshape(2, 3)), np.array(["a", "bc"]), np.array([b"a"]),
    np.array(["a", 1, None], object), np.array([(1, 2.0)], [("a", "i4"), ("b", "f8")]),
    np.arange(4, dtype=">i2"), np.array(7),
]  # fmt: skip


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("array", ARRAYS, ids=str)
def test_arrays_are_loaded_from_every_protocol(array, protocol):
    found = load(pickle.dumps(array, protocol=protocol))
    assert np.array_equal(found, array)
    assert found.dtype == pickle.loads(pickle.dumps(array, protocol=protocol)).dtype
    assert load(pickle.dumps(array.dtype, protocol=protocol)) == array.dtype
    for scalar in array.ravel()[:1]:
        assert load(pickle.dumps(scalar, protocol=protocol)) == scalar


# What Python 2 and NumPy 1 wrote for {'data': array, 'labels': [6, 9], 'filenames': [...]}:
# text as its short string opcode, arrays under the old name of the module.
CIFAR = (
    b"\x80\x02}q\x01(U\x0bbatch_labelq\x02U\x15training batch 1 of 5q\x03U\x06labelsq\x04]q\x05"
    b"(K\x06K\teU\x04dataq\x06cnumpy.core.multiarray\n_reconstruct\nq\x07cnumpy\nndarray\nq\x08"
    b"K\x00\x85U\x01b\x87Rq\t(K\x01K\x02K\x03\x86cnumpy\ndtype\nq\nU\x02u1K\x00K\x01\x87Rq\x0b"
    b"(K\x03U\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb\x89U\x06\x00\x01\x02\xfd\xfe\xff"
    b"tbU\tfilenamesq\x0c]q\r(U\nleptodact.q\x0eU\x04\xc3\xa9.peu."
)


def test_a_batch_as_cifar_has_them_is_loaded():
    found = load(CIFAR, encoding="bytes")
    assert found[b"batch_label"] == b"training batch 1 of 5"
    assert found[b"labels"] == [6, 9]
    assert found[b"filenames"] == [b"leptodact.", b"\xc3\xa9.p"]
    assert found[b"data"].dtype == np.uint8
    assert found[b"data"].tolist() == [[0, 1, 2], [253, 254, 255]]
    assert load(CIFAR, encoding="latin-1")["data"].tolist() == found[b"data"].tolist()


@pytest.mark.parametrize("cut", [0, 1, 5, 40, 150, len(CIFAR) - 1])
def test_a_damaged_pickle_is_a_value_error(cut):
    with pytest.raises(ValueError, match=r"\w+: ."):
        load(CIFAR[:cut], encoding="bytes")


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize(("path", "text"), [
    (PurePosixPath("a/b c.jpg"), "a/b c.jpg"), (Path("/x/é"), "/x/é"), (PurePosixPath("."), "."),
    (PureWindowsPath("C:\\a\\b"), "C:/a/b"), (PureWindowsPath("a\\b"), "a/b"),
])  # fmt: skip
def test_paths_become_text_only_where_they_are_expected(path, text, protocol):
    data = pickle.dumps([path], protocol=protocol)
    assert load(data, paths=True) == [text]
    with pytest.raises(UnsafePickle, match=r"asks for 'pathlib"):
        load(data)


def test_other_names_of_pathlib_are_refused_among_paths(tmp_path):
    evil = pickle.dumps(Reduced(Path.unlink, tmp_path))
    with pytest.raises(UnsafePickle, match="asks for"):
        load(evil, paths=True)
    assert tmp_path.exists()
    with pytest.raises(ValueError, match="TypeError"):
        load(b"cpathlib\nPosixPath\n(I1\ntR.", paths=True)


def test_a_web_page_is_a_value_error():
    with pytest.raises(ValueError, match="Error"):
        load(b"<html>quota exceeded</html>")


def test_every_global_that_is_allowed_is_one_that_data_needs():
    """What is allowed and what pickles of data and arrays ask for are the same set."""
    asked: set[tuple[str, str]] = set()

    class Recording(pickle.Unpickler):
        def find_class(self, module: str, name: str):
            asked.add((module, name))
            return super().find_class(module, name)

    for value in [*DATA, *ARRAYS, np.float32(1), np.dtype("u1")]:
        for protocol in PROTOCOLS:
            Recording(io.BytesIO(pickle.dumps(value, protocol=protocol))).load()
    assert one_name(asked) == one_name(ALLOWED)


def one_name(found: Iterable[tuple[str, str]]) -> set[tuple[str, str]]:
    """Give modules one name for Python 2 and 3, and NumPy 1 and 2."""
    return {
        (module.replace("numpy._core", "numpy.core").replace("builtins", "__builtin__"), name)
        for module, name in found
    }


@given(st.binary(max_size=200))
def test_no_bytes_do_anything_but_load_or_raise(data):
    with contextlib.suppress(UnsafePickle, ValueError):
        load(data, encoding="bytes")


def op(module: str, name: str) -> bytes:
    return f"c{module}\n{name}\n".encode()


def text(value: str) -> bytes:
    return b"X" + struct.pack("<I", len(value)) + value.encode()


def whole(value: int) -> bytes:
    size = max(1, (value.bit_length() + 8) // 8)
    return b"\x8a" + bytes([size]) + value.to_bytes(size, "little", signed=True)


def raw(value: bytes) -> bytes:
    return b"B" + struct.pack("<I", len(value)) + value


def forged(name: str, order: str = "<", size: int = -1, flags: int = 0) -> bytes:
    """A type whose state says what NumPy would believe."""
    state = b"(" + whole(3) + text(order) + b"NNN" + whole(size) + whole(1) + whole(flags) + b"t"
    return op("numpy", "dtype") + text(name) + b"\x89\x88\x87R" + state + b"b"


def of_type(kind: bytes, shape: int, data: bytes) -> bytes:
    empty = op("numpy.core.multiarray", "_reconstruct") + op("numpy", "ndarray") + b"("
    empty += whole(0) + b"t" + raw(b"b") + b"\x87R"
    return (
        empty + b"(" + whole(1) + b"(" + whole(shape) + b"t" + kind + b"\x89" + raw(data) + b"tb."
    )


POINTER = struct.pack("<Q", 0x4141414141414141)
SCALAR = op("numpy.core.multiarray", "scalar")
HOSTILE = [
    *(of_type(forged("O8", "|", flags=flags), 1, POINTER) for flags in (0, 1, 16, 63)),
    *(SCALAR + forged(name, "|", flags=0) + raw(POINTER) + b"\x86R." for name in ("O8", "O4", "O")),
    SCALAR + op("numpy", "dtype") + text("O8") + b"\x89\x88\x87R" + raw(POINTER) + b"\x86R.",
    *(of_type(forged("f8", size=1 << k), 4, bytes(n)) for k in (3, 20, 40) for n in (8, 31, 33)),
    *(of_type(forged("u1"), n, b"abc") for n in (2, 4, 1 << 34, 1 << 62, -1)),
    *(of_type(forged(name), 1, POINTER) for name in ("M8[ns]", "m8", "(2,)f4", "f4,f4")),
    of_type(forged("U2147483647"), 1, POINTER),
    *(op("builtins", name) + whole(6 << 30) + b"\x85R." for name in ("bytes", "bytearray")),
    op("numpy", "ndarray") + b"(" + whole(1 << 34) + b"t\x85R.",
    op("numpy.core.multiarray", "_reconstruct") + b"N(K\x00ta.",
    *(b"Nr" + struct.pack("<I", index) + b"." for index in (0x0FFFFFFF, 0x7FFFFFFF, 0xFFFFFFFF)),
    b"\x96" + struct.pack("<Q", 6 << 30) + b".", b"\x8e" + struct.pack("<Q", 6 << 30) + b".",
    *(b"]" * n + b"a" * (n - 1) + b"." for n in (20_000, 200_000)),
    op("_codecs", "encode") + text("a") + text("zip") + b"\x86R.",
    op("_codecs", "encode") + b"}" + text("x") + b"Nsb.",
    op("builtins", "set") + b"N}" + text("__call__") + b"Ns\x86b.",
]  # fmt: skip


@pytest.mark.parametrize("data", [b"\x80\x04" + data for data in HOSTILE])
def test_a_file_chooses_no_pointer_and_no_size(data):
    with pytest.raises((ValueError, UnsafePickle)):
        load(data, encoding="bytes")


def test_arrays_whose_bytes_fit_are_read_whatever_else_their_type_claims():
    assert load(of_type(forged("f8", size=1 << 20, flags=63), 1, bytes(8))).tolist() == [0]
    lists = np.array([[1, "a"], [None, b"b"]], object)
    assert load(pickle.dumps(lists)).tolist() == lists.tolist()


def test_numbers_that_collide_as_keys_do_not_take_for_ever(monkeypatch):
    monkeypatch.setattr(limited, "SECONDS", 0.3)
    keys = b"".join(whole(k * ((1 << 61) - 1)) for k in range(1, 100_000))
    began = time.monotonic()
    with pytest.raises(ValueError, match="was not read in"):
        load(b"\x80\x04\x8f(" + keys + b"\x90.")
    assert time.monotonic() - began < 20


def test_nothing_that_a_pickle_can_reach_is_changed_by_it():
    for name in ("set", "bytes", "complex"):
        state = b"N}" + text("__doc__") + text("changed") + b"s\x86b."
        with pytest.raises(ValueError, match="Error"):
            load(b"\x80\x04" + op("builtins", name) + state)
    assert load(pickle.dumps({1, 2}, protocol=2)) == {1, 2}
