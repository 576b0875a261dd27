"""What references share that learn all tasks at once: nothing bounds what they keep."""

from __future__ import annotations

from collections.abc import Sequence

from bmc.methods.base import Method
from bmc.train.costs import samples_bytes
from bmc.train.data import TaskTensors


class JointReference(Method):
    """A method that learns all tasks as one group; its memory is all training data."""

    reference = True
    kept_bytes = 0

    def group_size(self, n_tasks: int) -> int:
        """All tasks form one group."""
        return n_tasks

    def count(self, group: Sequence[TaskTensors]) -> None:
        """Count the data that had to be kept to learn it all at once."""
        self.kept_bytes = samples_bytes(sum(len(task.train) for task in group), self.dim)

    def memory_bytes(self) -> int:
        """Bytes of all training data: features in float16, labels in int32."""
        return self.kept_bytes
