"""Continual-learning methods, one file each, in one registry."""

from bmc.methods import (
    acil,
    bmc,
    experience_replay,
    fecam,
    finetune,
    joint,
    klda,
    knn,
    ncm,
    ridge,
    slda,
)
from bmc.methods.base import METHODS, Method

__all__ = [
    "METHODS",
    "Method",
    "acil",
    "bmc",
    "experience_replay",
    "fecam",
    "finetune",
    "joint",
    "klda",
    "knn",
    "ncm",
    "ridge",
    "slda",
]
