"""What a user can do after a command of ``bmc-stream``, as commands to copy."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from autods.core.shell import quoted
from bmc.runs.choice import StreamChoice

BESIDE = ("er", "slda")  # what a single method is compared with
FIGURES = "figures"


def compare(choice: StreamChoice, methods: Sequence[str]) -> str:
    """Return the command that compares these methods over several orders."""
    names = list(dict.fromkeys([*methods, *(BESIDE if len(methods) == 1 else ())]))
    options = {
        "--scenario": choice.scenario,
        "--method": ",".join(names),
        "--stream": choice.stream,
        "--encoder": choice.encoder or None,
        "--root": choice.root,
        "--protocol": choice.protocol,
        "--classes-per-task": choice.classes_per_task,
        "--max-tasks": choice.max_tasks,
        "--normalize": choice.normalize,
        "--scale": choice.scale,
        "--difficulty": choice.difficulty,
        "--stream-seed": choice.stream_seed or None,
    }
    given = [str(word) for pair in options.items() if pair[1] is not None for word in pair]
    return _command("bmc-stream compare", *given)


def figures(folders: Iterable[Path]) -> str:
    """Return the command that writes the charts of runs for a paper."""
    return _command("bmc-stream report", *map(str, folders), "--figures", FIGURES)


def report(folder: Path) -> str:
    """Return the command that makes the table and the page of finished runs."""
    return _command("bmc-stream report", str(folder))


def _command(program: str, *words: str) -> str:
    return " ".join([program, *map(quoted, words)])
