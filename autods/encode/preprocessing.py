"""An encoder's preprocessing cut in two: pixels of one image, and numbers of a whole batch.

Processes that decode hand over bytes, a quarter of the memory of the float32 numbers that
the encoder gets. Both halves together are the encoder's own transform, bit for bit.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torchvision.transforms import Compose, Normalize, ToTensor

from autods.encode.decode import Unreadable, is_too_narrow
from autods.encode.encoders.interface import Transform

MODES = ("1", "L", "LA", "P", "RGB", "RGBA", "CMYK")  # of images as PIL loads them
PROBE = (83, 57)  # width and height of images that a transform is tried on: neither square nor even


@dataclass(frozen=True, eq=False)
class Preprocessing:
    """From an image to the encoder's input, in two steps.

    ``first`` turns one image into what becomes its pixels. ``table``, float32 [3, 256], has the
    number of each byte in each channel; it is ``None`` if the transform cannot be cut, and
    ``first`` is then all of it. With a table, ``mean`` and ``std``, float32 [3, 1, 1], give the
    same numbers: (byte / 255 - mean) / std.
    """

    first: Any
    table: npt.NDArray[np.float32] | None
    size: tuple[int, int]  # height and width of the input
    mean: npt.NDArray[np.float32] | None = None
    std: npt.NDArray[np.float32] | None = None

    @property
    def shape(self) -> tuple[int, int, int]:
        """Shape (3, h, w) of the pixels of one image."""
        return (3, *self.size)

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of the pixels: uint8, or float32 without a table."""
        return np.dtype(np.float32 if self.table is None else np.uint8)

    def pixels(self, image: Image.Image) -> npt.NDArray[Any]:
        """Return the pixels of one image, of ``shape`` and ``dtype``.

        Raises `Unreadable` for one so narrow that its enlarged form could take all memory.
        """
        if is_too_narrow(image):
            raise Unreadable(f"with {image.width} x {image.height} pixels it is no picture")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found = self.first(image)
        if self.table is None:
            return np.asarray(found, np.float32)
        # band by band, as fast as one pass for all, and the encoder wants them apart
        bands = [found.tobytes("raw", band) for band in "RGB"]
        return np.frombuffer(b"".join(bands), np.uint8).reshape(3, found.height, found.width)

    def fill(self, batch: npt.NDArray[np.float32], pixels: npt.NDArray[Any]) -> None:
        """Write the encoder's input of m images over a batch float32 [b, 3, h, w].

        The pixels [m, ...] are as `pixels` gives them; rows from m on become zeros.
        """
        count = len(pixels)
        batch[count:] = 0
        if self.mean is None or self.std is None:
            batch[:count] = pixels
            return
        for image, row in zip(pixels, batch, strict=False):  # one by one: fits into the cache
            np.copyto(row, image)
            np.divide(row, np.float32(255), out=row)  # twice as fast as to look numbers up
            np.subtract(row, self.mean, out=row)
            np.divide(row, self.std, out=row)

    def fill_there(
        self, batch: torch.Tensor, pixels: torch.Tensor, table: torch.Tensor | None
    ) -> None:
        """Do what `fill` does on a device; ``table`` is there, and of the type of the batch."""
        count = len(pixels)
        batch[count:] = 0
        if table is None:
            batch[:count] = pixels
            return
        at = torch.empty((count, 3, *self.size), dtype=torch.int32, device=pixels.device)
        rows = torch.arange(0, table.numel(), 256, dtype=torch.int32, device=pixels.device)
        torch.add(pixels, rows.view(3, 1, 1), out=at)
        torch.index_select(table.view(-1), 0, at.view(-1), out=batch[:count].view(-1))


def cut(transform: Transform) -> Preprocessing:
    """Cut a transform after the step that yields bytes; leave it whole if that fails.

    It can be cut where ``ToTensor`` and ``Normalize`` come last, as in open_clip and timm,
    and every image is RGB before. Both ways are then tried on images of all modes and must
    give the same bits.
    """
    whole = np.asarray(transform(_probe("RGB")))
    size = (int(whole.shape[1]), int(whole.shape[2]))
    uncut = Preprocessing(transform, None, size)
    steps = list(getattr(transform, "transforms", []))
    if not (len(steps) > 2 and isinstance(steps[-2], ToTensor) and type(steps[-1]) is Normalize):
        return uncut
    first, last = Compose(steps[:-2]), Compose(steps[-2:])
    ramp = np.repeat(np.arange(256, dtype=np.uint8)[:, None, None], 3, axis=2)  # [256, 1, 3]
    table = np.ascontiguousarray(last(Image.fromarray(ramp)).numpy()[:, :, 0])  # [3, 256]
    mean, std = (
        np.asarray(values, np.float32).reshape(-1, 1, 1)
        for values in (steps[-1].mean, steps[-1].std)
    )
    both = Preprocessing(first, table, size, mean, std)
    numbers = np.empty((1, 3, 256, 1), np.float32)
    both.fill(numbers, ramp.transpose(2, 0, 1)[None])
    same = np.array_equal(numbers[0, :, :, 0], table)
    return both if same and all(_agree(both, transform, mode) for mode in MODES) else uncut


def _agree(both: Preprocessing, transform: Transform, mode: str) -> bool:
    """Whether the two halves give what the whole gives, bit for bit, for one mode of images."""
    image = _probe(mode)
    middle = both.first(image)
    if not isinstance(middle, Image.Image) or middle.mode != "RGB":
        return False
    batch = np.empty((1, 3, *both.size), np.float32)
    both.fill(batch, both.pixels(image)[None])
    return np.array_equal(batch[0], np.asarray(transform(image)))


def _probe(mode: str) -> Image.Image:
    width, height = PROBE
    noise = np.random.default_rng(0).integers(0, 256, (height, width, 4), dtype=np.uint8)
    return Image.fromarray(noise).convert("RGB").convert(mode)
