"""Zero-shot CLIP (arXiv 2103.00020): a class is the embedding of its name.

The embeddings are made once by ``autods embed-classes``: the normalised mean, over prompt
templates, of the normalised prompt embeddings.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.nn import functional

from autods.core.output import some_of
from autods.core.shell import quoted
from autods.errors import FeaturesMissing
from autods.streams.stream import Stream, Task
from bmc.config import Config, option
from bmc.methods.base import METHODS
from bmc.methods.closed_form import ClosedForm
from bmc.train.data import TaskTensors
from bmc.train.packed import Kept, Packing

NAMED = 3  # datasets without embedded class names that a message names


@METHODS.register("zero-shot")
class ZeroShot(ClosedForm):
    """Cosine similarity to the embedded class names; learns nothing from images.

    Attributes
    ----------
    texts
        float32 [C, d], of length 1; zero for classes not met yet.
    """

    name = "zero-shot"
    title = "Zero-shot CLIP"
    distributed = True  # no training sample is read
    order_free = True
    source = "Radford et al., ICML 2021, arXiv 2103.00020"
    equation = """
        class of x:  argmax_c  cos(x, t_c),  t_c the mean of the embedded prompts of the class name
    """

    kept: ClassVar[Kept] = {"texts": Packing(torch.float32, torch.float32, classes=0)}

    @dataclass(frozen=True)
    class Options(ClosedForm.Options):
        templates: str = option("default-v1", "Name of the prompt templates.")

    options: Options

    def __init__(self, dim: int, n_classes: int, config: Config, device: torch.device) -> None:
        super().__init__(dim, n_classes, config, device)
        self.texts = torch.zeros(n_classes, dim, device=device)

    @classmethod
    def unfit(cls, stream: Stream, config: Config) -> str | None:
        """Say which datasets of a stream have no embedded class names."""
        if all(task.class_embedding_source is None for task in stream.tasks):
            return (
                f"{cls.title} needs class names that `autods embed-classes` has embedded; stream "
                f"'{stream.name}' has none, its features do not come from a data root."
            )
        templates = cls.configured(config).options.templates
        without = [task.dataset for task in stream.tasks if not _has_texts(task, templates)]
        without = list(dict.fromkeys(without))
        if not without:
            return None
        encoder = stream.provenance.get("encoder_name", "NAME")
        return (
            f"{cls.title} needs class names embedded with templates '{templates}'; of "
            f"stream '{stream.name}' these have none: {some_of(without, NAMED)}. Run "
            f"`autods embed-classes --templates {quoted(templates)} --encoder {encoder}` with "
            "--model and --pretrained of the CLIP model that made these features."
        )

    def add(self, task: TaskTensors) -> None:
        """Read the embedded names of a task's classes."""
        texts = torch.from_numpy(task.texts(self.options.templates))  # [c, d]
        self.texts[task.start : task.stop] = functional.normalize(texts, dim=1)

    def scores(self, features: Tensor) -> Tensor:
        """Return the cosine of features and texts, float32 [n, seen]."""
        return self.unit(features) @ self.texts[: self.seen].T

    def records(self) -> dict[str, Any]:
        """Return what the prompts were, and a hash of the embeddings."""
        digest = hashlib.sha256(self.texts.cpu().numpy().tobytes()).hexdigest()
        return {"templates": self.options.templates, "texts_sha256": digest}


def _has_texts(task: Task, templates: str) -> bool:
    try:
        task.class_embeddings(templates)
    except FeaturesMissing:
        return False
    return True
