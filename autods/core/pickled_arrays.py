"""What `autods.core.pickles` builds in place of NumPy's objects.

A pickle states type, shape and bytes of an array. NumPy believes it: flags of a type turn bytes
into pointers, and a size is allocated before it is compared with anything. Here a type is one of a
few, made from its name, and an array is made of exactly the bytes that are there.

Everything that a pickle may call is a `Maker`, whose state a pickle cannot change.
"""

from __future__ import annotations

import math
import re
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

PLAIN = re.compile(r"[<>|=]?(b1|[iu][1248]|f(2|4|8|12|16)|c(8|16|24|32)|[SU]\d{0,9}|V\d{0,9})")
OBJECT = re.compile(r"\|?O[48]?")
ITEM_BYTES = 1 << 20  # of an element, at most
AXES = 32
NDARRAY = "numpy.ndarray"  # stands for the class, which is only ever an argument

Array = npt.NDArray[Any]


class Maker:
    """A function that a pickle may call; it is no class, and has no state to be changed."""

    __slots__ = ("_make",)

    def __init__(self, make: Callable[..., Any]) -> None:
        self._make = make

    def __call__(self, *arguments: Any) -> Any:
        """Make an object."""
        return self._make(*arguments)

    def __setstate__(self, state: object) -> None:
        raise ValueError("a function has no state")


class Dtype:
    """The type of an array, as a pickle describes it: its name, then its byte order and fields."""

    __slots__ = ("value",)

    def __init__(self, name: object) -> None:
        text = name.decode("ascii") if isinstance(name, bytes) else name
        if not isinstance(text, str) or not (PLAIN.fullmatch(text) or OBJECT.fullmatch(text)):
            raise ValueError(f"arrays of type {str(name)[:20]!r} are not read")
        self._set(np.dtype("O") if OBJECT.fullmatch(text) else np.dtype(text))

    def _set(self, value: np.dtype[Any]) -> None:
        if value.itemsize > ITEM_BYTES:
            raise ValueError(f"an element of {value.itemsize:,} bytes")
        self.value: np.dtype[Any] = value

    def __setstate__(self, state: Any) -> None:
        order: Any
        # version, byte order, (base, shape), names, fields, size, alignment, flags, metadata
        order, inner, names, fields, size = state[1:6]
        if inner is not None:
            raise ValueError("arrays whose elements are arrays are not read")
        order = order.decode("ascii") if isinstance(order, bytes) else order
        if order not in ("<", ">", "|", "="):
            raise ValueError("a byte order that is none")
        if fields is not None:
            self._set(_structured(names, fields, size))
        elif self.value.kind != "O":
            self._set(self.value.newbyteorder(order))

    def __reduce__(self) -> Any:
        return self.value.__reduce__()


def _structured(names: Any, fields: Any, size: Any) -> np.dtype[Any]:
    described = [(_text(name), *fields[name][:2]) for name in names]
    if any(not isinstance(kind, Dtype) or kind.value.hasobject for _, kind, _ in described):
        raise ValueError("a field whose type is none")
    formats = [kind.value for _, kind, _ in described]
    offsets = [_whole(offset) for _, _, offset in described]
    if not 0 < _whole(size) <= ITEM_BYTES:
        raise ValueError(f"an element of {size} bytes")
    for kind, offset in zip(formats, offsets, strict=True):
        if offset + kind.itemsize > size:
            raise ValueError("a field outside of its element")
    return np.dtype(
        {
            "names": [name for name, _, _ in described],
            "formats": formats,
            "offsets": offsets,
            "itemsize": size,
        }
    )


class PickledArray:
    """An array, which has its content once its state is set; pickled, it is that array."""

    __slots__ = ("value",)

    def __init__(self) -> None:
        self.value: Array = np.zeros(0, np.int8)  # as NumPy has it before its state is set

    def __setstate__(self, state: Any) -> None:
        shape, kind, fortran, data = state[-4:]  # old pickles have no version before them
        order = "F" if fortran else "C"
        if isinstance(kind, Dtype) and kind.value.kind == "O":
            self.value = _of_objects(data, _shape(shape), order)
        else:
            made = _of_bytes(data, kind, _shape(shape), order)
            self.value = made.astype(made.dtype.newbyteorder("="), copy=False)  # as NumPy does

    def __reduce__(self) -> Any:
        return self.value.__reduce_ex__(5)  # keeps the byte order


def _of_bytes(data: Any, kind: Any, shape: tuple[int, ...], order: Any) -> Array:
    if not isinstance(kind, Dtype) or kind.value.hasobject:
        raise ValueError("an array without a type")
    if isinstance(data, str):  # bytes of Python 2 that were read as text
        data = data.encode("latin-1")
    if not isinstance(data, bytes | bytearray | memoryview):
        raise ValueError(f"an array made of a {type(data).__name__}")
    count = math.prod(shape)
    if count * kind.value.itemsize != len(data):
        raise ValueError(f"{len(data):,} bytes for {count:,} elements of {kind.value}")
    if not len(data):
        return np.zeros(shape, kind.value)
    return np.frombuffer(bytes(data), kind.value, count).reshape(shape, order=order)


def _of_objects(data: Any, shape: tuple[int, ...], order: Any) -> Array:
    if type(data) is not list or len(data) != math.prod(shape):
        raise ValueError("an array of objects without a list of as many")
    array = np.empty(len(data), object)
    for place, value in enumerate(data):
        array[place] = value
    return array.reshape(shape, order=order)


def _shape(shape: Any) -> tuple[int, ...]:
    lengths = (shape,) if isinstance(shape, int) else shape
    if type(lengths) is not tuple or len(lengths) > AXES:
        raise ValueError("a shape that is none")
    return tuple(_whole(length) for length in lengths)


def _whole(value: Any) -> int:
    if type(value) is not int or not 0 <= value < 1 << 48:
        raise ValueError("a size that is none")
    return value


def _text(value: Any) -> str:
    text = value.decode("latin-1") if isinstance(value, bytes) else value
    if not isinstance(text, str):
        raise ValueError("a name that is no text")
    return text


def _scalar(kind: Any, data: Any = b"") -> Any:
    return _of_bytes(data, kind, (), "C")[()]


def _from_buffer(data: Any, kind: Any, shape: Any, order: Any, axes: Any = None) -> PickledArray:
    array = PickledArray()
    if order == "K" and axes is not None:
        array.value = _of_bytes(data, kind, _shape(shape), "C").transpose(axes)
    elif order in ("C", "F"):
        array.value = _of_bytes(data, kind, _shape(shape), order)
    else:
        raise ValueError("an order of axes that is none")
    return array


def _bytes(text: Any = b"", encoding: Any = "latin-1") -> bytes:
    if isinstance(text, str) and encoding in ("latin-1", "latin1"):
        return text.encode("latin-1")
    if not isinstance(text, bytes | bytearray | list | tuple):
        raise ValueError(f"bytes made of a {type(text).__name__}")
    return bytes(text)


def _encoded(text: Any, encoding: Any) -> bytes:
    if not isinstance(text, str) or encoding not in ("latin-1", "latin1", b"latin1"):
        raise ValueError("a text that is not encoded as Latin-1")
    return text.encode("latin-1")


def _members(values: Any = ()) -> list[Any]:
    if not isinstance(values, list | tuple | set | frozenset):
        raise ValueError(f"a set made of a {type(values).__name__}")
    return list(values)


MAKERS: dict[str, Any] = {
    "_reconstruct": Maker(lambda *_: PickledArray()),
    "scalar": Maker(_scalar),
    "_frombuffer": Maker(_from_buffer),
    "ndarray": NDARRAY,
    "dtype": Maker(lambda name, *_: Dtype(name)),
    "set": Maker(lambda *values: set(_members(*values))),
    "frozenset": Maker(lambda *values: frozenset(_members(*values))),
    "bytes": Maker(_bytes),
    "bytearray": Maker(lambda *values: bytearray(_bytes(*values))),
    "complex": complex,  # protocol 2 makes it as a class; a class of Python cannot be changed
    "encode": Maker(_encoded),
    "OrderedDict": Maker(OrderedDict),
}
