"""The features manifest: which feature sets a published folder holds, file by file.

``BASE/features/NAME.yaml`` describes the files ``BASE/NAME/DATASET/FILE``.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import Field, field_validator, model_validator

from autods.core.files import atomic
from autods.core.strict import Strict, repeated
from autods.features.shards import SHARD_NAME
from autods.interop.imports.common import ENCODER_NAME
from autods.manifest.schema import NAME
from autods.manifest.sources import FileEntry, Mirror, Release

KIND = "feature-sets"  # of these manifests, beside the archives of others
FOLDER = "features"  # that holds them
SET_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*(?<!\.)")
TEXT_NAME = re.compile(r"text/[A-Za-z0-9][A-Za-z0-9._-]*\.h5")
RECORD = "record.json"
SHA256 = r"[0-9a-f]{64}"


class FeatureFile(Strict):
    """One file of a feature set: its record, a shard, or embedded class names."""

    name: str
    size: int = Field(ge=1)  # bytes
    sha256: str = Field(pattern=f"^{SHA256}$")

    @field_validator("name")
    @classmethod
    def _of_a_feature_set(cls, value: str) -> str:
        if value != RECORD and not SHARD_NAME.fullmatch(value) and not TEXT_NAME.fullmatch(value):
            raise ValueError(
                f"expected {RECORD}, a shard (train-00000-of-00001.h5) or text/NAME.h5, "
                f"got '{value}'"
            )
        return value


class SharedSet(Strict):
    """The features of one dataset, with what others must know to use and cite it.

    ``fingerprint`` and ``samples_sha256`` are those of its shards: of which manifest and sample
    index they were made (the latter is empty for imported features).
    """

    dataset: str
    title: str | None = None
    homepage: str | None = None
    citation: str | None = None
    licence: str | None = None
    fingerprint: str = Field(pattern=f"^{SHA256}$")
    samples_sha256: str = Field(pattern=f"^({SHA256})?$")
    splits: dict[str, int]  # rows of each
    classes: dict[str, int]  # of each label set
    files: list[FeatureFile] = Field(min_length=2)

    @field_validator("dataset")
    @classmethod
    def _plain_name(cls, value: str) -> str:
        if not NAME.fullmatch(value):
            raise ValueError("expected lower-case letters, digits, '_' and '-'")
        return value

    @field_validator("files")
    @classmethod
    def _whole_set(cls, value: list[FeatureFile]) -> list[FeatureFile]:
        names = [file.name for file in value]
        if again := repeated(names):
            raise ValueError(f"expected each file once, got '{again}' again")
        if RECORD not in names or not any(map(SHARD_NAME.fullmatch, names)):
            raise ValueError(f"expected {RECORD} and at least one shard")
        return value

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(file.size for file in self.files)

    def release(self, mirrors: dict[str, Mirror]) -> Release:
        """Return what the downloader fetches; ``mirrors``: where each file is."""
        files = [
            FileEntry(
                name=file.name,
                checksum=f"sha256:{file.sha256}",
                size=file.size,
                mirrors=[mirrors[file.name]],
            )
            for file in self.files
        ]
        return Release(
            name=self.dataset,
            title=self.title or self.dataset,
            homepage=self.homepage,
            citation=self.citation,
            licence=self.licence,
            access="open",
            files=files,
        )


class SharedFeatures(Strict):
    """All feature sets of one encoder in a published folder."""

    kind: Literal["feature-sets"] = "feature-sets"
    name: str
    encoder: str
    provenance: dict[str, Any]  # of the encoder, as its shards state it
    dim: int = Field(ge=1)
    datasets: list[SharedSet] = Field(min_length=1)

    @field_validator("name")
    @classmethod
    def _plain_name(cls, value: str) -> str:
        if not SET_NAME.fullmatch(value) or value == FOLDER:
            raise ValueError("expected letters, digits, '.', '_' and '-', and not 'features'")
        return value

    @field_validator("encoder")
    @classmethod
    def _plain_encoder(cls, value: str) -> str:
        if not ENCODER_NAME.fullmatch(value):
            raise ValueError("expected letters, digits, '.', '_' and '-'")
        return value

    @model_validator(mode="after")
    def _different_datasets(self) -> SharedFeatures:
        if again := repeated(one.dataset for one in self.datasets):
            raise ValueError(f"datasets: expected each once, got '{again}' again")
        return self

    def names(self) -> list[str]:
        """List the datasets, in the order of the manifest."""
        return [one.dataset for one in self.datasets]

    def of(self, names: Sequence[str]) -> list[SharedSet]:
        """Return the feature sets of these datasets, in the order of the manifest."""
        return [one for one in self.datasets if one.dataset in names]

    def write(self, folder: Path) -> Path:
        """Write the manifest into a published folder; return the file."""
        target = folder / FOLDER / f"{self.name}.yaml"
        content = self.model_dump(mode="json")
        with atomic(target) as temporary:
            text = yaml.safe_dump(content, sort_keys=False, allow_unicode=True, width=100)
            temporary.write_text(text, encoding="utf-8")
        return target
