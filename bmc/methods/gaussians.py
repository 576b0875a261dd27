"""Gaussians of classes in the feature space of a network, as SLCA stores and draws from them.

Those of frozen features, which experts send task by task, are in `bmc.methods.gaussian_message`.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

from bmc.train.packed import upper_triangle

COVARIANCES = ("full", "diagonal", "shared")
CLASSES = 128  # classes whose factors are unpacked at once


class ClassGaussians:
    """A Gaussian of each class over features of width w, with one of `COVARIANCES`.

    Attributes
    ----------
    means
        float16 [C, w], mean feature of each class; 0 of a class without samples.
    spreads
        float16 [C, w], deviations (``diagonal``), or the upper triangles of R with covariance
        R^T R: [C, w (w + 1) / 2] (``full``), or [1, w (w + 1) / 2] of all classes (``shared``).
    freedom
        int32 [1], rows less classes that a shared R is of.
    """

    def __init__(self, width: int, covariance: str, device: torch.device) -> None:
        self.width, self.covariance = width, covariance
        size = width if covariance == "diagonal" else width * (width + 1) // 2
        self.means = torch.zeros(0, width, dtype=torch.float16, device=device)
        self.spreads = torch.zeros(0, size, dtype=torch.float16, device=device)
        self.freedom = torch.zeros(1, dtype=torch.int32, device=device)
        self._known: Tensor | None = None

    def add(self, features: Sequence[Tensor]) -> None:
        """Add a Gaussian of each next class, from its features, float32 [n, w]."""
        means = torch.stack([x.sum(dim=0) / max(len(x), 1) for x in features])
        centred = [x - mean for x, mean in zip(features, means, strict=True)]
        self.means = torch.cat([self.means, means.half()])
        self._known = None
        if self.covariance == "shared":
            self._share(torch.cat(centred), sum(len(x) - 1 for x in centred if len(x)))
            return
        scaled = [x / max(len(x) - 1, 1) ** 0.5 for x in centred]
        if self.covariance == "diagonal":
            new = torch.stack([x.square().sum(dim=0).sqrt() for x in scaled])
        else:
            new = torch.stack([upper_triangle(_triangular(x)) for x in scaled])
        self.spreads = torch.cat([self.spreads, new.half()])

    def _share(self, centred: Tensor, freedom: int) -> None:
        """Join centred rows [n, w] with those that the shared covariance is of."""
        if before := int(self.freedom):
            former = _factors(self.spreads, self.width)[0] * before**0.5
            centred = torch.cat([former, centred])
        self.freedom += freedom
        scale = max(int(self.freedom), 1) ** 0.5
        self.spreads = upper_triangle(_triangular(centred) / scale)[None].half()

    @property
    def known(self) -> Tensor:
        """The classes with samples, int64 [c]; found again after each task."""
        if self._known is None:
            self._known = self.means.any(dim=1).nonzero()[:, 0]
        return self._known

    def draw(self, count: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Draw ``count`` features of each class: float32 [n, w], and labels int64 [n].

        The generator is one of the device. Of a class without samples nothing is drawn.
        """
        classes = self.known
        device, size = self.means.device, (len(classes), count, self.width)
        noise = torch.randn(size, generator=generator, device=device)
        parts = []
        for own, z in zip(torch.split(classes, CLASSES), torch.split(noise, CLASSES), strict=True):
            if self.covariance == "diagonal":
                away = z * self.spreads[own, None].float()
            else:
                spreads = self.spreads if self.covariance == "shared" else self.spreads[own]
                away = z @ _factors(spreads, self.width)
            parts.append(self.means[own, None].float() + away)
        return torch.cat(parts).flatten(0, 1), classes.repeat_interleave(count)

    def state(self) -> dict[str, Tensor]:
        """Return what is stored."""
        own = {"gaussians.means": self.means, "gaussians.spreads": self.spreads}
        if self.covariance == "shared":
            own["gaussians.freedom"] = self.freedom
        return own

    def load_state(self, state: dict[str, Tensor]) -> None:
        """Take over what `state` returned."""
        for name in self.state():
            setattr(self, name.removeprefix("gaussians."), state[name].to(self.means.device))
        self._known = None


def _triangular(rows: Tensor) -> Tensor:
    """Return R [w, w], upper triangular, with R^T R = rows^T rows, of rows [n, w]."""
    factor = torch.linalg.qr(rows, mode="r").R  # no inverse: rows may be few or dependent
    return functional.pad(factor, (0, 0, 0, rows.shape[1] - len(factor)))


def _factors(spreads: Tensor, w: int) -> Tensor:
    """Return the factors R, float32 [n, w, w], of triangles [n, w (w + 1) / 2], all at once."""
    rows, columns = torch.triu_indices(w, w, device=spreads.device)
    factors = torch.zeros(len(spreads), w, w, device=spreads.device)
    factors[:, rows, columns] = spreads.float()
    return factors
