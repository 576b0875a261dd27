"""A command that waits for hashing shows how far it is."""

from autods.core.files import hash_file, hash_tree
from autods.core.hashed import hashing
from autods.core.progress import Progress

SIZE = 2_500_000  # more than two blocks


class Recorder(Progress):
    def __init__(self) -> None:
        self.steps: list[tuple] = []
        self.amounts: list[int] = []

    def start(self, title: str, total: int | None, unit: str, done: int = 0) -> None:
        self.steps.append((title, total, unit))

    def advance(self, amount: int) -> None:
        self.amounts.append(amount)

    def finish(self) -> None:
        self.steps.append(("finished",))


def test_hashing_moves_within_a_file_and_counts_no_byte_twice(tmp_path):
    file, progress = tmp_path / "large", Recorder()
    file.write_bytes(bytes(SIZE))
    with hashing(progress, "verifying pets", SIZE):
        one = hash_file(file, "sha256")
        assert len(progress.amounts) == 3
        assert sum(progress.amounts) == SIZE
        assert hash_file(file, "sha256") == one
    assert sum(progress.amounts) == SIZE
    assert progress.steps == [("verifying pets", SIZE, "bytes"), ("finished",)]


def test_what_is_less_than_expected_is_whole_at_the_end(tmp_path):
    (tmp_path / "small").write_bytes(b"12345")
    progress = Recorder()
    with hashing(progress, "verifying pets", 100):
        hash_tree(tmp_path)
    assert progress.amounts == [5, 95]
    hash_tree(tmp_path)  # nobody listens
    assert progress.amounts == [5, 95]
