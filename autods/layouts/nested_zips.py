"""Nested zips: class folders inside zip files that lie in a zip, tar or folder."""

from __future__ import annotations

from typing import Literal

from autods.layouts.class_folders import PathLabels


class NestedZips(PathLabels):
    """Images inside inner zips; the pattern sees ``path/inner.zip!/path inside``.

    For example ``"{part}.zip!/*/{alphabet}/{character}/*"``. Inner zips that are stored
    are read in place; deflated ones are taken out once.
    """

    family: Literal["nested-zips"]

    def nested_files(self) -> list[str]:
        """Return the files whose inner zips are opened: all of them."""
        return self.files()
