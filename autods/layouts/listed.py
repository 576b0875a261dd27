"""Samples named by the rows of a table: what list files and CSV tables share."""

from __future__ import annotations

from collections.abc import Iterator
from sys import intern

from pydantic import Field

from autods.containers import Container
from autods.errors import ContainerError, LayoutError
from autods.layouts.base import Layout, RawSample, Shared
from autods.layouts.patterns import fill
from autods.layouts.tables import Row, TextFile


class ListedSamples(Layout):
    """Parameters of every family whose images are named by rows.

    Attributes
    ----------
    file
        Manifest file that holds the images.
    path
        Template of the image's path inside ``file``, for example ``"images/{id}.jpg"``.
    labels
        Task name to template of its label key.
    """

    file: str
    path: str
    labels: dict[str, str] = Field(min_length=1)

    def labelled(self) -> list[str]:
        """Return the tasks that this layout gives labels of."""
        return list(self.labels)

    def samples(
        self,
        container: Container,
        table: TextFile,
        columns: list[str],
        found: Iterator[Row],
        split: str | None,
    ) -> Iterator[RawSample]:
        """Yield a sample for each row; its image must be in ``container``.

        Raises
        ------
        LayoutError
            When an image is missing, or there is no row at all.
        """
        shared = Shared()
        empty = True
        for row in found:
            empty = False
            values = dict(zip(columns, row.cells, strict=True))
            name = fill(self.path, values)
            try:
                member = container.find(name)
            except ContainerError:
                raise LayoutError(
                    f"{table.shown}: line {row.line}: expected image '{name}' in {self.file}, "
                    "which has no such member; nothing was indexed. Correct 'path' in the manifest."
                ) from None
            labels = shared({task: fill(text, values) for task, text in self.labels.items()})
            part = None if split is None else intern(fill(split, values))
            yield RawSample(self.file, member.name, labels, part)
        if empty:
            raise LayoutError(
                f"{table.shown}: expected at least one row, got none; nothing was indexed. "
                "Correct the manifest."
            )
