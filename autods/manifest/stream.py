"""Stream definitions: which tasks, of which classes, in which order; a YAML file or Python."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import Field, StrictInt, field_validator, model_validator

from autods.core.files import atomic
from autods.core.strict import Strict, repeated

Protocol = Literal["clean", "paper"]


class StreamItem(Strict):
    """One dataset of a stream, as one task or several.

    Attributes
    ----------
    dataset
        Its name.
    task
        The label set; ``None``: the dataset's default one. Several label sets of a dataset
        are several items.
    classes
        Names of the classes that become this task, in their order here; ``None``: all.
    classes_per_task
        Cut the dataset into tasks of about so many classes.
    name
        Name of the task; ``None``: made of dataset, label set and class numbers.
    """

    dataset: str
    task: str | None = None
    classes: Annotated[list[str], Field(min_length=1)] | None = None
    classes_per_task: Annotated[int, Field(ge=1)] | None = None
    name: Annotated[str, Field(min_length=1)] | None = None

    @field_validator("classes")
    @classmethod
    def _different_classes(cls, value: list[str] | None) -> list[str] | None:
        if again := repeated(value or ()):
            raise ValueError(f"expected each class once, got '{again}' twice")
        return value

    @model_validator(mode="after")
    def _one_way_to_cut(self) -> StreamItem:
        if self.classes_per_task is not None:
            for key in ("classes", "name"):
                if getattr(self, key) is not None:
                    raise ValueError(
                        f"expected '{key}' or 'classes_per_task', got both; each item with "
                        f"'{key}' is one task"
                    )
        return self


class SyntheticData(Strict):
    """Size and seed of the generated stream; see `autods.streams.synthetic.synthetic_stream`."""

    scale: float | None = None
    seed: Annotated[int, Field(ge=0)] = 0
    classes: int | None = None
    per_class: int | None = None
    dim: int | None = None
    difficulty: Literal["plain", "hard"] | None = None


class StreamSpec(Strict):
    """A stream: datasets in the order of its definition, and how it is meant to be opened.

    Arguments of `open_stream` and options of the command line override these values.

    Attributes
    ----------
    encoder, scenario, protocol, normalize
        As of `autods.open_stream`; ``None``: its defaults.
    order
        What order ``paper`` means: the order of ``datasets``, a permutation of their tasks
        by a seed, or names of all tasks or datasets.
    classes_per_task
        For items without their own.
    max_tasks
        Keep only the first tasks of the order.
    synthetic
        Generate the features instead of reading them; ``datasets`` then names published ones.
    """

    name: str
    title: str = ""
    citation: str | None = None
    encoder: str | None = None
    scenario: Literal["class-il", "task-il"] | None = None
    protocol: Protocol | None = None
    normalize: Literal["l2", "none"] | None = None
    order: Literal["paper"] | Annotated[StrictInt, Field(ge=0)] | list[str] = "paper"
    classes_per_task: Annotated[int, Field(ge=1)] | None = None
    max_tasks: Annotated[int, Field(ge=1)] | None = None
    synthetic: SyntheticData | None = None
    datasets: list[StreamItem] = Field(min_length=1)

    @field_validator("datasets", mode="before")
    @classmethod
    def _plain_names(cls, value: Any) -> Any:
        if not isinstance(value, list):
            return value
        return [{"dataset": item} if isinstance(item, str) else item for item in value]

    @model_validator(mode="after")
    def _generated_are_whole(self) -> StreamSpec:
        if self.synthetic is None:
            return self
        cut = next((i for i in self.datasets if i != StreamItem(dataset=i.dataset)), None)
        if cut is not None or self.classes_per_task is not None:
            what = f"'{cut.dataset}' with more than its name" if cut else "'classes_per_task'"
            raise ValueError(f"synthetic: expected whole datasets by name, got {what}")
        if self.encoder is not None or self.protocol == "paper":
            what = "'encoder'" if self.encoder else "protocol 'paper'"
            raise ValueError(f"synthetic: expected no {what}: its features are generated")
        return self

    def write(self, path: Path) -> Path:
        """Write the definition as YAML, atomically; return ``path``, which `open_stream` takes."""
        content = self.model_dump(mode="json", exclude_defaults=True)
        for place, item in enumerate(content["datasets"]):
            if set(item) == {"dataset"}:
                content["datasets"][place] = item["dataset"]
        content["datasets"] = content.pop("datasets")  # the long part at the end
        with atomic(path) as temporary:
            text = yaml.safe_dump(content, sort_keys=False, allow_unicode=True, width=100)
            temporary.write_text(text, encoding="utf-8")
        return path
