"""Images and labels as a dataset of torch, decoded in place from the archives.

`autods.streams.images` decides which images make a set.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch
from torch.utils.data import Dataset, default_collate

from autods.containers import MemberReader
from autods.containers.reader import Address
from autods.core.workers import worker_answers
from autods.encode.decode import Unreadable, content_hash, load_image, to_rgb
from autods.errors import DamagedMember, UsageError
from autods.index.samples import ADDRESS

if TYPE_CHECKING:
    import pyarrow as pa
    from PIL import Image

CHUNK = 16  # images that a worker hands over at once when they are iterated one by one

Rows = npt.NDArray[np.int64]
Transform = Callable[["Image.Image"], Any]


class ImageSet(Dataset[tuple[Any, int]]):
    """Images and labels of one split: a map-style dataset of torch, and an iterable.

    ``images[i]`` is ``(image, label)``, decoded on access; the image is a PIL image,
    or what the transform makes of it. A `torch.utils.data.DataLoader` with any number of
    workers and any start method takes it; every process opens the archives by itself.

    Attributes
    ----------
    labels
        int64 [n], class numbers.
    sample
        int64 [n], rows of the sample index.
    class_names, class_offset
        Class ``class_offset + k`` has the name ``class_names[k]``.
    transform
        Applied to every image; ``None`` leaves it as it is.
    workers
        Processes that decode for `__iter__` and `batches`; 0: this one. They import the
        calling program again, so a script that asks for some must start below
        ``if __name__ == "__main__"``, and the transform must be one that can be pickled.
    rgb
        Whether images are converted to RGB before the transform. Without, the transform sees
        them as they are stored (sixteen-bit grey values scaled to eight bits): that is what
        an encoder's own preprocessing saw when features were extracted.
    """

    def __init__(
        self,
        files: ImageFiles,
        sample: Rows,
        labels: npt.NDArray[np.int64],
        class_names: Sequence[str],
        *,
        class_offset: int = 0,
        transform: Transform | None = None,
        workers: int = 0,
        rgb: bool = True,
    ) -> None:
        if workers < 0:
            raise UsageError(f"workers: expected a number from 0 on, got {workers}")
        self.sample, self.labels = sample, labels
        self.class_names, self.class_offset = list(class_names), class_offset
        self.transform, self.workers, self.rgb = transform, workers, rgb
        self._files, self._rows = files, sample

    def __getstate__(self) -> dict[str, Any]:
        files, rows = self._files.take(self._rows), np.arange(len(self), dtype=np.int64)
        return {**self.__dict__, "_files": files, "_rows": rows}

    def __len__(self) -> int:
        return len(self.labels)

    def __repr__(self) -> str:
        return f"ImageSet({len(self):,} images, {len(self.class_names):,} classes)"

    @property
    def targets(self) -> list[int]:
        """The labels under the name, and as the list, that torchvision's datasets have."""
        targets: list[int] = self.labels.tolist()
        return targets

    def __getitem__(self, i: int) -> tuple[Any, int]:
        """Return one decoded image and its label.

        Raises
        ------
        DamagedMember
            When the image cannot be read or decoded; the message names it.
        ContainerError
            When an archive is missing or cut off.
        """
        image = self.decode(i)
        return (image if self.transform is None else self.transform(image)), int(self.labels[i])

    def __iter__(self) -> Iterator[tuple[Any, int]]:
        """Yield all images and labels in order, decoded by ``workers`` processes."""
        if not self.workers:
            yield from map(self.__getitem__, range(len(self)))
            return
        order = np.arange(len(self))
        for chunk in self._loaded(order, CHUNK, list):
            yield from chunk

    def batches(
        self, batch_size: int, seed: int | Sequence[int] | None = None
    ) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        """Yield one epoch of batches; every image exactly once, the last batch may be short.

        Parameters
        ----------
        batch_size
            Images per batch, b.
        seed
            Seed of the order, which is that of `FeatureSet.batches` for the same number of rows;
            ``None``: the order of the rows.

        Yields
        ------
        What the transform gives, stacked ([b, ...]), and labels int64 [b].

        Raises
        ------
        UsageError
            When what the transform gives cannot be stacked.
        """
        order = np.arange(len(self))
        if seed is not None:
            order = np.random.Generator(np.random.PCG64(seed)).permutation(len(self))
        yield from self._loaded(order, batch_size, _stacked)

    def read(self, i: int) -> bytes:
        """Return an image file as it was published; errors as of `__getitem__`."""
        return self._files.read(int(self._rows[i]))

    def content_hash(self, i: int) -> int:
        """Return the hash of an image file, which features keep as ``content_hash``."""
        return content_hash(self.read(i))

    def path(self, i: int) -> str:
        """Return ``<file>/<member>`` of an image."""
        container, member, *_ = self._files.address(int(self._rows[i]))
        return f"{container}/{member}"

    def decode(self, i: int) -> Image.Image:
        """Return one image before the transform; errors as of `__getitem__`."""
        data = self.read(i)
        try:
            image, _ = load_image(data)
        except Unreadable as reason:
            number = int(self.sample[i])
            raise DamagedMember(
                f"{self.path(i)}: sample {number} of '{self._files.dataset}' cannot be decoded: "
                f"{reason}; nothing was changed. Leave it out: open_images(..., leave_out="
                f"[{number}]); streams leave out what extraction could not decode."
            ) from None
        return to_rgb(image) if self.rgb else image

    def unreadable(self) -> list[tuple[int, str]]:
        """Decode everything; return sample and reason of each image that cannot be."""
        unreadable = []
        for i in range(len(self)):
            try:
                load_image(self.read(i))
            except (Unreadable, DamagedMember) as reason:
                unreadable.append((int(self.sample[i]), str(reason)))
        return unreadable

    def _loaded(self, order: Rows, size: int, collate: Callable[[list[Any]], Any]) -> Iterator[Any]:
        """Yield what ``collate`` makes of ``size`` images at a time, in an order."""
        if size < 1:
            raise UsageError(f"batch size: expected a positive number, got {size}")
        requests = [order[start : start + size] for start in range(0, len(order), size)]
        preloaded = [__name__, "torchvision.transforms"]
        collated = partial(_collated, self, collate)
        yield from worker_answers(collated, requests, self.workers, preloaded)


def _collated(images: ImageSet, collate: Callable[[list[Any]], Any], positions: Rows) -> Any:
    return collate([images[i] for i in positions])


class ImageFiles:
    """The addresses of the images of one dataset, and their reader; shared by its image sets.

    The table has columns `ADDRESS` of `autods.index.samples`, one row for each image.
    """

    def __init__(self, reader: MemberReader, table: pa.Table) -> None:
        self.reader = reader
        self._table = table
        container, member, *numbers = (table[name].combine_chunks() for name in ADDRESS)
        kinds = container.dictionary_encode()  # containers are few
        self._containers: list[str] = kinds.dictionary.to_pylist()
        self._container, self._member = kinds.indices.to_numpy(), member
        self._offset, self._size, self._crc32 = (column.to_numpy() for column in numbers)

    def __getstate__(self) -> tuple[Any, ...]:
        return self.reader, self._table

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        # a pickle holds the arguments, and is opened again by them
        self.__init__(*state)  # type: ignore[misc]

    def __del__(self) -> None:
        if hasattr(self, "reader"):
            self.reader.close()

    @property
    def dataset(self) -> str:
        """Name of the dataset."""
        return self.reader.dataset

    def take(self, rows: Rows) -> ImageFiles:
        """Return the files of some rows, numbered anew, with a reader of their own."""
        return ImageFiles(MemberReader(self.reader.root, self.dataset), self._table.take(rows))

    def address(self, row: int) -> Address:
        """Return container, member, offset, size and CRC-32 of a row."""
        return (
            self._containers[self._container[row]],
            self._member[row].as_py(),
            int(self._offset[row]),
            int(self._size[row]),
            int(self._crc32[row]),
        )

    def read(self, row: int) -> bytes:
        """Return the bytes of a row's file."""
        return self.reader.read(*self.address(row))


def _stacked(samples: list[tuple[Any, int]]) -> Any:
    images, labels = zip(*samples, strict=True)
    try:  # in a worker this writes to shared memory at once
        return default_collate(list(images)), torch.tensor(labels, dtype=torch.int64)
    except (TypeError, RuntimeError):
        got = {f"{type(x).__name__} {list(getattr(x, 'shape', ())) or ''}".strip() for x in images}
        raise UsageError(
            "a batch could not be stacked: expected a transform that gives tensors of one size, "
            f"got {', '.join(sorted(got)[:3])}. Let it resize, crop and end in ToTensor."
        ) from None
