"""BMC-Analytic with a part of it taken out, for `analytic.py`: ``bmc-analytic/level-1``.

Each variant chooses its shrinkage anew, under its own model.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from bmc.methods.analytic import AnalyticConsolidation


class LevelOne(AnalyticConsolidation):
    """No heads: the class of the highest a_c."""

    def scores(self, features: Tensor) -> Tensor:
        """Return a_c / T of all classes, [n, seen]."""
        white, means, spread = self.head()
        return self._densities(self.unit(features) @ white, means, spread)


class PlainMeans(AnalyticConsolidation):
    """Level 1 has the class means as they are, and no predictive variance."""

    def _predictive(self, statistics: Sequence[tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor]:
        means = torch.cat([means for _, means in statistics])
        return means, means.new_ones(len(means))


class PlainLevelOne(PlainMeans, LevelOne):
    """Neither: linear discriminants of the mean covariance."""


VARIANTS = {
    "level-1": LevelOne,
    "plain-means": PlainMeans,
    "plain-level-1": PlainLevelOne,
}
