"""How far learning is within a group: what is told, by whom, and that nothing depends on it."""

import pytest

from bmc.train.movement import listening, moved, stage


def told(work) -> list[tuple[float, str]]:
    found = []
    with listening(lambda share, text: found.append((round(share, 6), text)), "learning"):
        work()
    return found


def test_without_a_listener_nothing_is_told():
    moved(1, 2, "updates")
    with stage(0, 0.5, "experts"):
        moved(1, 2, "updates")


def test_stages_within_stages_add_up_to_the_whole():
    def work() -> None:
        moved(1, 10, "samples")
        with stage(0.0, 0.5, "experts"):
            moved(5, 10, "updates")
            for part in range(2):
                with stage(part / 2, (part + 1) / 2):
                    moved(10, 10, "updates")
        with stage(0.5, 1.0, "consolidation"):
            moved(1, 4, "updates")
        moved(0, 0, "samples")  # nothing to do

    assert told(work) == [
        (0.1, "learning 1/10 samples"),
        (0.25, "experts 5/10 updates"),
        (0.25, "experts 50%"),
        (0.5, "experts 100%"),
        (0.625, "consolidation 1/4 updates"),
    ]


def test_a_failed_stage_leaves_the_one_around_it():
    def work() -> None:
        with pytest.raises(ValueError), stage(0, 0.5, "experts"):
            raise ValueError
        moved(1, 2, "updates")

    assert told(work) == [(0.5, "learning 1/2 updates")]
