"""Read an LMDB database in place: a file ``data.mdb``, or its bytes inside a tar.

liblmdb maps a file into memory and trusts it, so one that is cut off or damaged ends the
process; here every page is read by its offset and checked, one of each level at a time.

The format is that of liblmdb 0.9 on 64-bit little-endian machines (its header comments):
two meta pages, of which the one with the larger transaction counts; a B+tree of keys in the
order of their bytes; values that do not fit a page lie in overflow pages of their own.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from typing import NamedTuple

from autods.core.refusals import refusal
from autods.core.slices import READ, read_at
from autods.errors import ContainerError
from autods.interop.published.archive import Stored

MAGIC, VERSION = 0xBEEFC0DE, 1
BRANCH, LEAF, OVERFLOW = 0x01, 0x02, 0x04  # flags of a page
BIG = 0x01  # flag of a node: its value lies in overflow pages
NO_PAGE = (1 << 64) - 1  # root of an empty tree

_PAGE = struct.Struct("<QHHHH")  # number, padding, flags, end of the pointers, start of the nodes
_COUNT = struct.Struct("<I")  # of overflow pages, where other pages have their last two fields
_NODE = struct.Struct("<HHHH")  # size (or child) low and high, flags (or child), size of the key
_META = struct.Struct("<IIQQ")  # magic, version, address, size of the map
_TREE = struct.Struct("<IHHQQQQQ")  # page size, flags, depth, branch, leaf, overflow, entries, root
_LAST = struct.Struct("<QQ")  # last page, transaction


class _Tree(NamedTuple):
    """One B+tree as a meta page describes it."""

    page_size: int  # said only by the tree of free pages
    flags: int
    depth: int
    branch_pages: int
    leaf_pages: int
    overflow_pages: int
    entries: int
    root: int


class _Node(NamedTuple):
    """One key and where its value is: a piece of ``page``, or the overflow page ``big``."""

    key: bytes
    page: bytes
    start: int
    size: int
    big: int | None


class LmdbFile:
    """The main database of one LMDB environment, read-only; a context manager.

    Every method raises `ContainerError`, with the page, if the bytes are no database of this
    format, are cut off or are damaged.
    """

    def __init__(self, file: Stored) -> None:
        self._file = file
        try:
            self._handle = os.open(file.path, READ)
        except OSError as error:
            raise self._damaged(f"cannot be opened: {refusal(error).why}") from None
        try:
            self._page_size, self._tree = self._newest()
        except BaseException:
            os.close(self._handle)
            raise

    def __enter__(self) -> LmdbFile:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._handle)

    def keys(self) -> Iterator[bytes]:
        """Yield all keys, ascending by their bytes; values are not read."""
        return (node.key for node in self._nodes())

    def items(self) -> Iterator[tuple[bytes, bytes]]:
        """Yield all pairs of key and value, ascending by the bytes of the key."""
        return ((node.key, self._value(node)) for node in self._nodes())

    def get(self, key: bytes) -> bytes | None:
        """Return the value of a key, ``None`` if there is none."""
        number = self._tree.root
        for level in range(self._tree.depth):
            is_leaf = level == self._tree.depth - 1
            page = self._page(number, LEAF if is_leaf else BRANCH)
            if is_leaf:
                return next(
                    (self._value(n) for n in self._leaf(number, page) if n.key == key), None
                )
            children = self._branch(number, page)
            # The least key of the first child is not stored: it is below all others.
            later = [child for least, child in children[1:] if least <= key]
            number = later[-1] if later else children[0][1]
        return None

    def _newest(self) -> tuple[int, _Tree]:
        """Return the page size, and the main tree of the newest meta page."""
        page_size, first, tree = self._meta(0)
        second = self._meta(page_size)
        if second[1] > first:
            tree = second[2]
        if tree.flags or tree.depth > 64:
            raise self._damaged(f"a tree of flags {tree.flags} and depth {tree.depth} is not read")
        if (tree.root == NO_PAGE) != (not tree.entries) or (tree.root == NO_PAGE and tree.depth):
            raise self._damaged(f"{tree.entries} entries below page {tree.root}")
        return page_size, tree

    def _meta(self, start: int) -> tuple[int, int, _Tree]:
        """Return page size, transaction and main tree of the meta page at a byte."""
        data = self._read(start, _PAGE.size + _META.size + 2 * _TREE.size + _LAST.size)
        magic, version, _, _ = _META.unpack_from(data, _PAGE.size)
        if magic != MAGIC:
            raise self._damaged(f"no meta page of LMDB at byte {start}")
        if version != VERSION:
            raise self._damaged(f"format version {version}, expected {VERSION}")
        at = _PAGE.size + _META.size
        free = _Tree(*_TREE.unpack_from(data, at))
        main = _Tree(*_TREE.unpack_from(data, at + _TREE.size))
        page_size = free.page_size
        if not 512 <= page_size <= 65536 or page_size & (page_size - 1):
            raise self._damaged(f"a page size of {page_size} bytes")
        return page_size, _LAST.unpack_from(data, at + 2 * _TREE.size)[1], main

    def _nodes(self) -> Iterator[_Node]:
        """Walk the leaves from left to right."""
        tree = self._tree
        todo = [(tree.root, 1)] if tree.entries else []
        pages = entries = 0
        previous: bytes | None = None
        while todo:
            number, level = todo.pop()
            pages += 1
            if pages > tree.branch_pages + tree.leaf_pages:
                raise self._damaged("more pages than its meta page says")
            is_leaf = level == tree.depth
            page = self._page(number, LEAF if is_leaf else BRANCH)
            if not is_leaf:
                children = [(child, level + 1) for _, child in self._branch(number, page)]
                todo.extend(reversed(children))
                continue
            for node in self._leaf(number, page):
                if previous is not None and node.key <= previous:
                    raise self._damaged(f"keys of page {number} are not in their order")
                previous = node.key
                entries += 1
                yield node
        if entries != tree.entries:
            raise self._damaged(f"{entries} entries, {tree.entries} by its meta page")

    def _page(self, number: int, flag: int) -> bytes:
        """Return a page of the tree, of the kind expected."""
        page = self._read(number * self._page_size, self._page_size)
        said, _, flags, lower, upper = _PAGE.unpack_from(page)
        if said != number or flags & ~0x10 != flag or not 16 <= lower <= upper <= len(page):
            raise self._damaged(f"page {number} is not the page of the tree it should be")
        return page

    def _pointers(self, page: bytes) -> tuple[int, ...]:
        lower = _PAGE.unpack_from(page)[3]
        return struct.unpack_from(f"<{(lower - _PAGE.size) // 2}H", page, _PAGE.size)

    def _branch(self, number: int, page: bytes) -> list[tuple[bytes, int]]:
        """Return the least key and the page number of every child."""
        children = []
        for at in self._pointers(page):
            if at + _NODE.size > len(page):
                raise self._damaged(f"page {number}: a node outside of it")
            low, middle, high, key_size = _NODE.unpack_from(page, at)
            key = page[at + _NODE.size : at + _NODE.size + key_size]
            children.append((key, low | middle << 16 | high << 32))
        if not children:
            raise self._damaged(f"page {number}: no children")
        return children

    def _leaf(self, number: int, page: bytes) -> Iterator[_Node]:
        for at in self._pointers(page):
            if at + _NODE.size > len(page):
                raise self._damaged(f"page {number}: a node outside of it")
            low, high, flags, key_size = _NODE.unpack_from(page, at)
            start, size = at + _NODE.size + key_size, low | high << 16
            stored = 8 if flags == BIG else size
            if flags not in (0, BIG) or start + stored > len(page):
                raise self._damaged(f"page {number}: a node that is no plain value, or outside")
            big = int.from_bytes(page[start : start + 8], "little") if flags else None
            yield _Node(page[at + _NODE.size : start], page, start, size, big)

    def _value(self, node: _Node) -> bytes:
        if node.big is None:
            return node.page[node.start : node.start + node.size]
        data = self._read(node.big * self._page_size, _PAGE.size + node.size)
        said, _, flags = _PAGE.unpack_from(data)[:3]
        room = _COUNT.unpack_from(data, 12)[0] * self._page_size
        if said != node.big or flags & ~0x10 != OVERFLOW or len(data) > room:
            raise self._damaged(f"page {node.big} is not the value it should be")
        return data[_PAGE.size :]

    def _read(self, start: int, size: int) -> bytes:
        if start + size > self._file.size:
            raise self._damaged(
                f"it ends at byte {self._file.size:,}, before byte {start + size:,}"
            )
        try:
            data = read_at(self._handle, size, self._file.offset + start)
        except (OSError, OverflowError) as error:
            raise self._damaged(f"byte {start:,} cannot be read: {error}") from None
        if len(data) < size:
            raise self._damaged(f"it ends before byte {start + size:,}")
        return data

    def _damaged(self, cause: str) -> ContainerError:
        return ContainerError(f"{self._file.shown}: not a whole LMDB database: {cause}")
