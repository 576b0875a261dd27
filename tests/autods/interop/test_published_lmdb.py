"""The reader of LMDB files against the lmdb package, and against damage of every kind."""

from pathlib import Path

import lmdb
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from autods.errors import ContainerError
from autods.interop.published.archive import Stored
from autods.interop.published.lmdb_file import LmdbFile

MAP = 1 << 28


def opened(path: Path) -> LmdbFile:
    return LmdbFile(Stored(path, 0, path.stat().st_size, "data.mdb"))


def write(folder: Path, *transactions: dict[bytes, bytes | None]) -> Path:
    """Write one transaction after the other; ``None`` deletes."""
    with lmdb.open(str(folder), map_size=MAP, sync=False) as environment:
        for changes in transactions:
            with environment.begin(write=True) as transaction:
                for key, value in changes.items():
                    if value is None:
                        transaction.delete(key)
                    else:
                        transaction.put(key, value)
    return folder / "data.mdb"


def many(count: int, size: int = 300) -> dict[bytes, bytes]:
    """Return pairs whose sizes go from nothing to several pages."""
    sizes = [0, 1, size, 2000, 3222, 9000]
    return {f"path {i}".encode(): bytes([i % 256]) * sizes[i % 6] for i in range(count)}


def assert_same(path: Path, truth: dict[bytes, bytes]) -> None:
    with opened(path) as database:
        assert list(database.items()) == sorted(truth.items())
        assert list(database.keys()) == sorted(truth)
        assert all(database.get(key) == truth[key] for key in list(truth)[:50])
        assert database.get(b"no such key") is None
        assert database.get(b"\xff" * 600) is None
        assert database.get(b"") is None


keys = st.binary(min_size=1, max_size=511)
values = st.one_of(st.binary(max_size=40), st.integers(0, 9000).map(bytes))


@settings(deadline=None, max_examples=40, suppress_health_check=[HealthCheck.too_slow])
@given(
    transactions=st.lists(
        st.dictionaries(keys, st.one_of(st.none(), values), max_size=30), max_size=4
    ),
    copied=st.sampled_from([None, False, True]),
)
def test_what_is_read_is_what_the_lmdb_package_wrote(tmp_path_factory, transactions, copied):
    folder = tmp_path_factory.mktemp("lmdb")
    path = write(folder, *transactions)
    truth: dict[bytes, bytes] = {}
    for changes in transactions:
        truth.update({k: v for k, v in changes.items() if v is not None})
        truth = {k: v for k, v in truth.items() if changes.get(k, v) is not None}
    if copied is not None:
        (folder / "copy").mkdir()
        with lmdb.open(str(folder), map_size=MAP) as environment:
            environment.copy(str(folder / "copy"), compact=copied)
        path = folder / "copy" / "data.mdb"
    assert_same(path, truth)


def test_a_tree_of_several_levels_is_read_in_order(tmp_path):
    long = {i.to_bytes(2, "big") + bytes(400): b"v" for i in range(3000)}
    path = write(tmp_path, long, dict.fromkeys(list(long)[::3]))
    with lmdb.open(str(tmp_path), map_size=MAP) as environment:
        assert environment.stat()["depth"] >= 4
    assert_same(path, {key: v for i, (key, v) in enumerate(long.items()) if i % 3})


def test_a_database_within_another_file_is_read_from_its_offset(tmp_path):
    truth = many(100)
    data = write(tmp_path / "a", truth).read_bytes()
    around = tmp_path / "around"
    around.write_bytes(b"x" * 777 + data + b"y" * 5000)
    with LmdbFile(Stored(around, 777, len(data), "inner")) as database:
        assert dict(database.items()) == truth


def read_all(path: Path) -> dict[bytes, bytes]:
    with opened(path) as database:
        return dict(database.items())


def test_a_file_cut_off_anywhere_is_refused_with_the_byte(tmp_path):
    data = write(tmp_path / "a", many(60)).read_bytes()
    cut = tmp_path / "cut"
    for size in [0, 1, 100, 4095, 4096, 5000, 8192, *range(12288, len(data), 20480)]:
        cut.write_bytes(data[:size])
        with pytest.raises(ContainerError, match=rf"not a whole LMDB.*ends at byte {size:,}, befo"):
            read_all(cut)


def test_what_is_no_database_is_refused(tmp_path):
    path = tmp_path / "data.mdb"
    for content in (bytes(20_000), b"<html>" * 4000):
        path.write_bytes(content)
        with pytest.raises(ContainerError, match="no meta page of LMDB at byte 0"):
            read_all(path)
    with pytest.raises(ContainerError, match="cannot be opened"):
        LmdbFile(Stored(tmp_path / "absent", 0, 10, "absent"))


def test_no_damage_does_anything_but_end_in_an_error(tmp_path):
    """Bytes of values can change unseen; the tree never leads out of the file or in circles."""
    data = write(tmp_path / "a", many(200), many(40, 700)).read_bytes()
    generator = np.random.default_rng(0)
    path, refused = tmp_path / "bad", 0
    for trial in range(150):
        bad = bytearray(data)
        reach = (200, 8400, len(bad))[trial % 3]
        for at in generator.integers(0, reach, generator.integers(1, 40)):
            bad[at] = generator.integers(256)
        path.write_bytes(bad)
        try:
            read_all(path)
        except ContainerError:
            refused += 1
    assert refused > 50


def test_a_tree_that_leads_back_to_itself_ends(tmp_path):
    """Every child of the root becomes its first child: the keys then repeat."""
    path = write(tmp_path / "a", {f"{i:04d}".encode(): bytes(1000) for i in range(40)})
    data = bytearray(path.read_bytes())
    root = int.from_bytes(data[4096 + 16 + 24 + 48 + 40 :][:8], "little")
    at = root * 4096
    pointers = range(at + 16, at + int.from_bytes(data[at + 12 : at + 14], "little"), 2)
    nodes = [at + int.from_bytes(data[p : p + 2], "little") for p in pointers]
    for node in nodes:
        data[node : node + 6] = data[nodes[0] : nodes[0] + 6]
    path.write_bytes(data)
    with pytest.raises(ContainerError, match="not in their order"):
        read_all(path)


MAIN = 16 + 24 + 48  # byte of the main tree within a meta page: behind header, meta, free tree


@pytest.mark.parametrize(
    ("at", "value", "named"),
    [
        (16 + 4, (2).to_bytes(4, "little"), "format version 2, expected 1"),
        (16 + 24, (1000).to_bytes(4, "little"), "a page size of 1000 bytes"),
        (MAIN + 4, b"\x04\x00", "a tree of flags 4"),
        (MAIN + 6, b"\xff\x00", "depth 255"),
        (MAIN + 8, bytes(16), "more pages than its meta page says"),
        (MAIN + 32, (41).to_bytes(8, "little"), "40 entries, 41 by its meta page"),
        (MAIN + 32, bytes(8), "0 entries below page"),
        (MAIN + 40, bytes([2, 0, 0, 0, 0, 0, 0, 0]), "page 2 is not the page of the tree"),
        (MAIN + 40, b"\xff" * 8, "40 entries below page"),
        (MAIN + 40, b"\xff" * 7 + b"\x7f", "it ends at byte"),
    ],
)
def test_a_meta_page_that_does_not_fit_the_tree_is_told(tmp_path, at, value, named):
    path = write(tmp_path / "a", {f"{i:04d}".encode(): bytes(1000) for i in range(40)})
    data = bytearray(path.read_bytes())
    newest = 4096  # one transaction was written: into the second meta page
    data[newest + at : newest + at + len(value)] = value
    path.write_bytes(data)
    with pytest.raises(ContainerError, match=named):
        read_all(path)


def test_the_meta_page_of_the_newer_transaction_counts(tmp_path):
    for number in range(1, 5):
        writes = [{f"{i}".encode(): bytes([i])} for i in range(number)]
        path = write(tmp_path / str(number), *writes)
        assert read_all(path) == {f"{i}".encode(): bytes([i]) for i in range(number)}


def test_an_overflow_page_that_is_too_short_for_its_value_is_told(tmp_path):
    path = write(tmp_path / "a", {b"key": bytes(9000)})
    data = bytearray(path.read_bytes())
    page = next(p for p in range(2, len(data) // 4096) if data[p * 4096 + 10] == 0x04)
    data[page * 4096 + 12] = 2  # pages, of which the value needs 3
    path.write_bytes(data)
    with pytest.raises(ContainerError, match=f"page {page} is not the value it should be"):
        read_all(path)


def test_databases_with_several_trees_or_values_per_key_are_refused(tmp_path):
    with lmdb.open(str(tmp_path), map_size=MAP, max_dbs=2) as environment:
        inner = environment.open_db(b"inner")
        with environment.begin(write=True, db=inner) as transaction:
            transaction.put(b"a", b"b")
    with pytest.raises(ContainerError, match="no plain value"):
        read_all(tmp_path / "data.mdb")
