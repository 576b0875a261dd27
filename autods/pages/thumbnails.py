"""Thumbnails inside a page: small JPEG files as data addresses, bounded in all."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable
from dataclasses import dataclass

from PIL import Image

from autods.containers import MemberReader
from autods.containers.reader import Address
from autods.core.root import DataRoot
from autods.encode.decode import Unreadable, load_image, to_rgb
from autods.encode.plan import digest_samples
from autods.errors import ContainerError, DamagedMember, IndexMissing
from autods.features.sets import StoredFeatures
from autods.index.samples import SampleIndex, load_samples

SIDE = 112  # pixels of the longer side of a thumbnail
QUALITY = 72  # of JPEG
MOST = 4_000_000  # characters of all thumbnails of a page


@dataclass(frozen=True)
class Thumbnail:
    """One image on a page.

    Attributes
    ----------
    source
        Its data address, or ``""`` if there is none.
    why
        Why there is none.
    width, height
        In pixels, 0 if there is none.
    """

    source: str = ""
    why: str = ""
    width: int = 0
    height: int = 0


class Album:
    """Makes the thumbnails of one page, up to ``most`` characters in all."""

    def __init__(self, most: int = MOST, side: int = SIDE) -> None:
        self.most, self.side = most, side
        self.left_out = 0
        self._used = 0

    def of(self, image: Image.Image | str) -> Thumbnail:
        """Return the thumbnail of an image, or of the reason why there is none."""
        if isinstance(image, str):
            return Thumbnail(why=image)
        if self._used >= self.most:
            self.left_out += 1
            return Thumbnail(why="left out: the page is full")
        small = shrunk(image, self.side)
        buffer = io.BytesIO()
        small.save(buffer, "JPEG", quality=QUALITY)
        text = base64.b64encode(buffer.getvalue()).decode("ascii")
        self._used += len(text)
        return Thumbnail(f"data:image/jpeg;base64,{text}", "", *small.size)


def shrunk(image: Image.Image, side: int) -> Image.Image:
    """Return an image in RGB whose longer side has at most so many pixels; never enlarged."""
    small = to_rgb(image)
    if max(small.size) <= side:
        return small.copy()
    scale = side / max(small.size)
    size = tuple(max(1, round(edge * scale)) for edge in small.size)
    return small.resize((size[0], size[1]), Image.Resampling.BILINEAR, reducing_gap=2.0)


class Pictures:
    """The images of an indexed dataset by sample; what cannot be shown is a reason instead.

    Without an index, or with another one than ``stored`` features were made from, `why` says so and
    every image is that reason.
    """

    def __init__(self, root: DataRoot, dataset: str, stored: StoredFeatures | None = None) -> None:
        self.dataset = dataset
        self.index: SampleIndex | None = None
        self._reader = MemberReader(root, dataset)
        try:
            index = load_samples(root, dataset)
        except IndexMissing:
            there = root.samples(dataset).is_file()
            self.why = f"the images of '{dataset}' are not indexed under this root" + (
                f" by this version (run autods index {dataset})" if there else ""
            )
            return
        if stored is not None and stored.info.samples_sha256 != digest_samples(index):
            made = "imported" if not stored.info.samples_sha256 else "made from another index"
            self.why = f"the features of '{dataset}' were {made}, so their images are not known"
            return
        self.index, self.why = index, ""

    def path(self, sample: int) -> str:
        """Return ``<file>/<member>`` of a sample, or ``""`` if it is not known."""
        return "" if self.index is None else str(self.index.table["path"][sample].as_py())

    def image(self, sample: int) -> Image.Image | str:
        """Decode a sample, or say why that is not possible."""
        if self.index is None:
            return self.why
        return decoded(lambda: self._reader.read(*self._address(sample)))

    def close(self) -> None:
        """Release file handles."""
        self._reader.close()

    def _address(self, sample: int) -> Address:
        if self.index is None:
            raise ValueError("there is no index")
        return self.index.locate(sample)


def decoded(read: Callable[[], bytes]) -> Image.Image | str:
    """Read and decode an image, or say why that is not possible."""
    try:
        return load_image(read())[0]
    except Unreadable as reason:
        return str(reason)
    except DamagedMember:
        return "its compressed data in the archive is damaged"
    except ContainerError:
        return "its archive is not here"
