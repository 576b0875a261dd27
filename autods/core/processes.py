"""Worker processes: how many, how they are started, and that they end with their parent."""

from __future__ import annotations

import multiprocessing
import os
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from multiprocessing import forkserver
from typing import TYPE_CHECKING, Any, TypeVar

from autods.core import sharing
from autods.core.cores import single_threaded_children, usable_cores
from autods.errors import AutodsError

if TYPE_CHECKING:
    from multiprocessing.context import ForkServerContext, SpawnContext

RequestT = TypeVar("RequestT")
AnswerT = TypeVar("AnswerT")

FEW = 1024  # images that are decoded sooner than worker processes start
MOST = 32  # workers, unless more are asked for
AHEAD = 2  # batches that each worker has under way
NICE = 10  # how far the workers give way to an encoder on the same cores


def choose_workers(images: int, processes: int = 1) -> int:
    """Return how many processes decode by default: one per core, none for a few images.

    ``processes`` share the cores, each with as many workers. None where processes cannot share
    memory.
    """
    few = images < FEW * processes or not sharing.AVAILABLE
    return 0 if few else max(1, min(MOST, usable_cores()) // processes)


def worker_context(preloaded: Sequence[str]) -> ForkServerContext | SpawnContext:
    """Return how workers are started: by a fork server if the platform has one.

    Workers that are forked off a process with threads can hang, and they inherit its
    locks, which they would keep after a kill -9. A fork server has neither; it imports the
    ``preloaded`` modules once, for all workers, whose libraries compute with one thread.
    """
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(list(preloaded))
    with single_threaded_children():
        forkserver.ensure_running()
    return context


def end_with_parent() -> None:
    """Make this process end when the one that started it is killed.

    Watching the parent process, as torch does, would watch the fork server instead.
    """
    if parent := multiprocessing.parent_process():

        def watch() -> None:
            parent.join()
            os._exit(1)

        threading.Thread(target=watch, daemon=True).start()


def worker_answers(
    answer: Callable[[RequestT], AnswerT],
    requests: Iterable[RequestT],
    workers: int,
    preloaded: Sequence[str],
    yielding: bool = False,
) -> Iterator[AnswerT]:
    """Yield the answers to requests in order, given by worker processes that end with this one.

    The ``preloaded`` modules are imported once for all workers; see `worker_context`.
    ``yielding`` workers leave the cores to an encoder that needs them too. An `AutodsError` of
    a worker is raised here.
    """
    import torch
    from torch.utils.data import DataLoader

    dataset: Any = _Answers(answer)  # torch asks for its items alone
    loader: DataLoader[Any] = DataLoader(
        dataset,
        batch_size=None,
        sampler=requests,
        num_workers=workers,
        collate_fn=as_is,
        prefetch_factor=AHEAD if workers else None,
        multiprocessing_context=worker_context(preloaded) if workers else None,
        worker_init_fn=partial(_prepare_worker, yielding=yielding),
        generator=torch.Generator(),  # otherwise it draws from the caller's
    )
    for answered in loader:
        if isinstance(answered, AutodsError):
            raise answered
        yield answered


@dataclass(frozen=True)
class _Answers:
    """What a function answers, as a dataset of torch."""

    answer: Callable[[Any], Any]

    def __getitem__(self, request: Any) -> Any:
        try:
            return self.answer(request)
        except AutodsError as error:
            return error  # raised in a worker it would reach the user as a traceback


def as_is(answer: Any) -> Any:
    """Leave an answer as it is: torch would make tensors of it."""
    return answer


def _prepare_worker(_: int, *, yielding: bool) -> None:
    end_with_parent()
    if yielding and hasattr(os, "nice"):
        os.nice(NICE)
