"""Contents that a server compresses for the transfer, though it was asked not to.

Some servers compress whatever they send; others call a ``.tar.gz`` a tar that they compressed.
What was asked for tells them apart.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator

from autods.containers.compressed import MAGIC
from autods.containers.kinds import signature_of
from autods.core.files import BLOCK
from autods.fetch.magic import ENOUGH, expected_kind
from autods.fetch.sources.base import Interrupted, MirrorFailed, Peekable

PLAIN = ("", "identity", "none", "utf-8", "binary")  # some servers write such things, too
GZIP = ("gzip", "x-gzip")
DEFLATE = "deflate"


def is_encoded(encoding: str, body: Peekable, name: str, whole: bool) -> bool:
    """Tell whether a body is compressed for the transfer: not the file ``name`` itself.

    ``encoding`` is the header's; ``whole`` says that the body has the size of the file.
    `MirrorFailed` if it cannot be undone.
    """
    encoding = encoding.strip().lower()
    if encoding in PLAIN or whole:
        return False
    if encoding not in (*GZIP, DEFLATE):
        raise MirrorFailed(
            f"sends the file compressed by '{encoding[:40]}', which nobody asked for"
        )
    head = body.beginning(ENOUGH)
    if encoding == DEFLATE:
        return True
    if signature_of(head) != "gzip file":
        return False  # the header is wrong
    inner = zlib.decompressobj(wbits=31)
    try:
        begin = inner.decompress(head, ENOUGH)
    except zlib.error:
        return False
    return expected_kind(name) != "gzip file" or signature_of(begin) == "gzip file"


def decoded(body: Peekable, encoding: str) -> Iterator[bytes]:
    """Yield what was compressed, in blocks of at most `BLOCK` bytes."""
    zipped = encoding.strip().lower() in GZIP
    inner, began = zlib.decompressobj(31 if zipped else 15), False
    for packed in body:
        if packed and not began and not zipped and packed[0] & 0x0F != zlib.DEFLATED:
            inner = zlib.decompressobj(-15)  # some servers leave the header out
        began = began or bool(packed)
        left = packed
        while left and not (inner.eof and not left.startswith(MAGIC["gzip"])):
            if inner.eof:  # another member follows
                inner = zlib.decompressobj(31)
            try:
                yield inner.decompress(left, BLOCK)
            except zlib.error as error:
                text = f"says that it compresses the file by {encoding}, and does not: {error}"
                raise MirrorFailed(text) from None
            left = inner.unconsumed_tail or inner.unused_data
    if began and not inner.eof:
        raise Interrupted(f"the connection ended within what it compresses by {encoding}")
