"""Continual-learning methods, one file each, in one registry."""

from bmc.methods import bmc, experience_replay, finetune, joint, slda
from bmc.methods.base import METHODS, Method

__all__ = ["METHODS", "Method", "bmc", "experience_replay", "finetune", "joint", "slda"]
