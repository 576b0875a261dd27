"""Names and images of classes together: zero-shot CLIP beside NCM or LDA, as log-probabilities.

The weight of the text is fixed: no stream of the tuning datasets has embedded class names to choose
it on. CLIP's own temperature of cosines is 0.01 (Radford et al., arXiv 2103.00020).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from bmc.config import Config, option
from bmc.methods.base import METHODS
from bmc.methods.closed_form import ClosedForm
from bmc.methods.ncm import NearestClassMean
from bmc.methods.slda import DeepSLDA
from bmc.methods.zero_shot import ZeroShot
from bmc.train.data import TaskTensors

IMAGES = "images."  # begins the names of the image method's state


class TextEnsemble(ZeroShot):
    """Zero-shot CLIP and a method on images: the weighted sum of their log-probabilities."""

    image_method: ClassVar[type[ClosedForm]]
    order_free = True

    @dataclass(frozen=True)
    class Options(ZeroShot.Options):
        text: float = option(
            0.5, "Weight of the text; the rest is the images'.", at_least=0, at_most=1
        )
        temperature: float = option(0.01, "By which cosines are divided.", above=0)

    options: Options

    def __init__(self, dim: int, n_classes: int, config: Config, device: torch.device) -> None:
        super().__init__(dim, n_classes, config, device)
        names = self.image_method.Options.names()
        own = self.image_method.Options(**{name: getattr(self.options, name) for name in names})
        read = {name: getattr(self.config, name) for name in self.image_method.shared}
        self.images = self.image_method(dim, n_classes, Config(**read, options=own), device)

    def learn(self, group: Sequence[TaskTensors]) -> None:
        """Read the names of each task's classes and learn its images."""
        self.images.learn(group)
        super().learn(group)

    def image_logits(self, features: Tensor) -> Tensor:
        """Return log-probabilities of classes by images, up to a constant of each row."""
        return self.images.scores(features)

    def scores(self, features: Tensor) -> Tensor:
        """Return the weighted sum of both log-probabilities, float32 [n, seen]."""
        self.images.seen = self.seen
        share = self.options.text
        texts = (super().scores(features) / self.options.temperature).log_softmax(dim=1)
        return share * texts + (1 - share) * self.image_logits(features).log_softmax(dim=1)

    def state(self) -> dict[str, Tensor]:
        """Return the texts and the state of the method on images."""
        self.images.seen = self.seen
        images = {IMAGES + name: tensor for name, tensor in self.images.state().items()}
        return super().state() | images

    def load_state(self, state: dict[str, Tensor]) -> None:
        """Load the texts and the method on images."""
        super().load_state(state)
        images = {n.removeprefix(IMAGES): t for n, t in state.items() if n.startswith(IMAGES)}
        self.images.load_state(images)


@METHODS.register("zero-shot-ncm")
class ZeroShotNCM(TextEnsemble):
    """Zero-shot CLIP and the nearest class mean, both by cosines over a temperature."""

    name = "zero-shot-ncm"
    title = "Zero-shot + NCM"
    source = "Ensemble of zero-shot CLIP (Radford et al., ICML 2021, arXiv 2103.00020) and NCM"
    equation = """
        p = softmax_c(cos(x, t_c) / T),  q = softmax_c(cos(x, μ_c) / T),  w the weight of the text
        class of x:  argmax_c  w log p_c + (1 − w) log q_c
    """
    image_method = NearestClassMean
    shared = ZeroShot.shared | NearestClassMean.shared

    def image_logits(self, features: Tensor) -> Tensor:
        """Return cosines to the class means over the temperature."""
        return super().image_logits(features) / self.options.temperature


@METHODS.register("zero-shot-lda")
class ZeroShotLDA(TextEnsemble):
    """Zero-shot CLIP and Deep SLDA, whose scores are log-probabilities already."""

    name = "zero-shot-lda"
    title = "Zero-shot + LDA"
    source = (
        "Ensemble of zero-shot CLIP (Radford et al., ICML 2021, arXiv 2103.00020) and Deep SLDA"
    )
    equation = """
        p = softmax_c(cos(x, t_c) / T),  q = softmax_c(w_c·x + b_c),  w_c and b_c of Deep SLDA
        class of x:  argmax_c  w log p_c + (1 − w) log q_c,  w the weight of the text
    """
    image_method = DeepSLDA
    shared = ZeroShot.shared | DeepSLDA.shared

    @dataclass(frozen=True)
    class Options(TextEnsemble.Options, DeepSLDA.Options):
        """Those of the ensemble and of Deep SLDA."""

    options: Options
