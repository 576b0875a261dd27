"""What a user can do after a command of ``bmc-stream``, as commands to copy."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from autods.cli.next_steps import classes_of_a_task
from autods.core.shell import quoted
from bmc.runs.choice import StreamChoice

if TYPE_CHECKING:
    from autods.streams.stream import Stream

BESIDE = ("er", "slda")  # what a single method is compared with
FIGURES = "figures"


def compare(choice: StreamChoice, methods: Sequence[str]) -> str:
    """Return the command that compares these methods over several orders."""
    names = list(dict.fromkeys([*methods, *(BESIDE if len(methods) == 1 else ())]))
    return _command("bmc-stream compare", *_given(_words(choice, names)))


def after_run(choice: StreamChoice, methods: Sequence[str], stream: Stream) -> list[str]:
    """Return what follows a run: a comparison, or tasks to compare on if there is only one."""
    if len(stream.tasks) > 1:
        return [compare(choice, methods)]
    if choice.max_tasks == 1 or (cut := classes_of_a_task(stream.n_classes)) is None:
        return []
    words = _words(choice, methods)
    words["--classes-per-task"] = cut
    return [_command("bmc-stream run", *_given(words))]


def figures(folders: Iterable[Path]) -> str:
    """Return the command that writes the charts of runs for a paper."""
    return _command("bmc-stream report", *map(str, folders), "--figures", FIGURES)


def report(folder: Path) -> str:
    """Return the command that makes the table and the page of finished runs."""
    return _command("bmc-stream report", str(folder))


def _words(choice: StreamChoice, methods: Sequence[str]) -> dict[str, object]:
    """Return the options that name a stream and methods."""
    return {
        "--scenario": choice.scenario,
        "--method": ",".join(methods),
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


def _given(options: dict[str, object]) -> list[str]:
    return [str(word) for pair in options.items() if pair[1] is not None for word in pair]


def _command(program: str, *words: str) -> str:
    return " ".join([program, *map(quoted, words)])
