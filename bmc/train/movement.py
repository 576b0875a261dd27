"""How far learning is within a group of tasks: what does the work tells it, a run listens.

Nothing is passed from function to function: whoever listens is known to the context, and without
one nothing is told. Numbers never depend on it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, replace

Listener = Callable[[float, str], None]  # gets the share that is done, 0 to 1, and what is done


@dataclass(frozen=True)
class _Stage:
    """A part of the work, from share ``begin`` of the whole to share ``end``."""

    listener: Listener
    name: str
    begin: float = 0.0
    end: float = 1.0
    named: tuple[float, float] = (0.0, 1.0)  # begin and end of the stage that has this name


_stage: ContextVar[_Stage | None] = ContextVar("_stage", default=None)


@contextmanager
def listening(listener: Listener, name: str) -> Iterator[None]:
    """Let a listener know how far the work of the body is."""
    token = _stage.set(_Stage(listener, name))
    try:
        yield
    finally:
        _stage.reset(token)


@contextmanager
def stage(begin: float, end: float, name: str | None = None) -> Iterator[None]:
    """Say that the body does the work from share ``begin`` to ``end`` of what is around it."""
    around = _stage.get()
    if around is None:
        yield
        return
    size = around.end - around.begin
    bounds = around.begin + begin * size, around.begin + end * size
    inner = replace(around, begin=bounds[0], end=bounds[1])
    if name is not None:
        inner = replace(inner, name=name, named=bounds)
    token = _stage.set(inner)
    try:
        yield
    finally:
        _stage.reset(token)


def moved(done: float, total: float, unit: str) -> None:
    """Tell that so much of the stage under way is done, in units of work."""
    now = _stage.get()
    if now is None or not total:
        return
    at = now.begin + min(1.0, done / total) * (now.end - now.begin)
    text = f"{done:,.0f}/{total:,} {unit}"
    if unit == "%" or now.named != (now.begin, now.end):
        first, last = now.named
        text = f"{(at - first) / (last - first):.0%}" if last > first else ""
    now.listener(at, f"{now.name} {text}")
