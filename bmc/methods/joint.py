"""Joint training: all tasks at once. The upper reference for the same network."""

from __future__ import annotations

from bmc.methods.base import METHODS, NetMethod


@METHODS.register("joint")
class Joint(NetMethod):
    """One training over the data of all tasks together."""

    name = "joint"
    title = "Joint training"

    def group_size(self, n_tasks: int) -> int:
        """All tasks form one group."""
        return n_tasks
