"""What a method says of the order of tasks: of one that is free of it, no order is a sample."""

import pytest
from small import learned, small_config, small_stream, tensors

from bmc.methods import METHODS
from bmc.runs.evaluate import evaluate

NAMES = [task.name for task in small_stream(tasks=71).tasks]
ORDERS = ([0, 1, 2, 3, 4, 5], [3, 0, 5, 2, 4, 1])
FREE = [name for name in METHODS.names() if METHODS.get(name).order_free]


def last_row(name: str, order: list[int]) -> dict[str, tuple[float, float]]:
    """Class-il and task-il accuracy by task after the first six tasks, learned in this order."""
    stream = small_stream(6, [*(NAMES[k] for k in order), *NAMES[6:]])
    row = evaluate(learned(name, stream, small_config(name)), tensors(stream))
    values = zip(row.class_il.tolist(), row.task_il.tolist(), strict=True)
    return {task.name: pair for task, pair in zip(stream.tasks, values, strict=True)}


@pytest.mark.parametrize("name", FREE)
def test_a_method_that_is_free_of_the_order_ends_alike_in_two_orders(name):
    one, other = (last_row(name, order) for order in ORDERS)
    assert one.keys() == other.keys()
    for task, accuracies in one.items():
        assert other[task] == pytest.approx(accuracies, abs=1e-12), task


def test_fine_tuning_depends_on_the_order():
    assert not METHODS.get("finetune").order_free
    one, other = (last_row("finetune", order) for order in ORDERS)
    assert one != other
