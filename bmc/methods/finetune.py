"""Fine-tuning: train on each task in turn, remember nothing. The lower reference."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from bmc.config import option
from bmc.methods.base import METHODS
from bmc.methods.net_method import NetMethod
from bmc.train.data import TaskTensors
from bmc.train.moments import Moments


@METHODS.register("finetune")
class FineTuning(NetMethod):
    """Sequential training with cross-entropy over the classes seen so far.

    With ``restart`` every task begins with weights and running statistics drawn anew, as the
    published baseline does: what came before is then forgotten on purpose.
    """

    name = "finetune"
    title = "Fine-tuning"
    source = "The lower reference"
    equation = """
        L = L_T(batch)
    """

    @dataclass(frozen=True)
    class Options(NetMethod.Options):
        restart: bool = option(
            False, "Draw all weights anew at every task, as the published baseline does."
        )

    options: Options

    def begin_group(self, group: Sequence[TaskTensors]) -> None:
        """Draw the network anew where that is asked for."""
        if self.options.restart:
            anew = self.new_net(self.n_classes, "restart", group[0].index)
            self.net.load_state_dict(anew.state_dict())
            if self.moments is not None:
                self.moments = Moments.new(self.net)
