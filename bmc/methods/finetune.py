"""Fine-tuning: train on each task in turn, remember nothing. The lower reference."""

from __future__ import annotations

from bmc.methods.base import METHODS, NetMethod


@METHODS.register("finetune")
class FineTuning(NetMethod):
    """Sequential training with cross-entropy over the classes seen so far."""

    name = "finetune"
    title = "Fine-tuning"
