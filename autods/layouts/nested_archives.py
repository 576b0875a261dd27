"""Nested archives: labels from paths inside archives that lie in a zip, tar or folder."""

from __future__ import annotations

from typing import Literal

from pydantic import Field
from typing_extensions import override

from autods.layouts.class_folders import PathLabels


class NestedArchives(PathLabels):
    """Images inside inner archives; the pattern sees ``path/inner.zip!/path inside``.

    For example ``"{part}.zip!/*/{alphabet}/{character}/*"``. Inner zips and tars that are
    stored are read in place; others are taken out once, those that ``nested`` does not match
    are not looked into.
    """

    family: Literal["nested-archives"]
    nested: list[str] = Field(default=["**/*.zip"], min_length=1)

    @override
    def nested_files(self) -> dict[str, list[str]]:
        return dict.fromkeys(self.in_files, self.nested)
