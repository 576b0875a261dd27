"""Progress that keeps what would stay on the terminal."""

from autods.core.progress import Silent


class Notes(Silent):
    """Keeps the notes as ``lines``, and how much is done."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.done = 0

    def note(self, text: str) -> None:
        self.lines.append(text)

    def advance(self, amount: int) -> None:
        self.done += amount
