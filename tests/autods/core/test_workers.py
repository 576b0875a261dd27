"""Worker processes answer in order; one that is lost is an error at once, whatever it was at."""

import importlib
import multiprocessing
import os
import pickle
import signal
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import pytest

from autods.core import fork_server, processes, workers
from autods.core.processes import undisturbed, worker_context
from autods.core.workers import Workers, start, worker_answers
from autods.encode.loader import PRELOADED  # of other tests, too: imported once
from autods.errors import UsageError, WorkerLost

LARGE = 1 << 20  # bytes, far more than a pipe holds


def enlarged(request: tuple[int, bytes]) -> tuple[int, bytes]:
    return request[0], bytes(LARGE)


def requests(count: int, size: int = LARGE):
    return ((number, bytes(size)) for number in range(count))


def test_large_requests_and_answers_come_in_order_and_a_killed_worker_is_an_error_at_once():
    with closing(Workers(enlarged, 2, PRELOADED)) as pool:
        assert [number for number, _ in pool.answers(requests(9))] == list(range(9))
        for victim in (0, 1):  # the pool starts anew when it has lost one
            answers = pool.answers(requests(9, 1))
            next(answers)  # both workers are sending their next answers, which nobody reads
            time.sleep(0.1)
            multiprocessing.active_children()[victim].kill()
            began = time.monotonic()
            with pytest.raises(WorkerLost, match=r"lost by signal 9, .*fewer workers"):
                list(answers)
            assert time.monotonic() - began < 4
    assert not multiprocessing.active_children()


class Odd(Exception):
    def __init__(self, what: str, why: str) -> None:  # two arguments: it cannot be unpickled
        super().__init__(what)


@pytest.mark.parametrize(
    ("error", "raised"), [(UsageError("no"), UsageError), (KeyError("no"), KeyError),
                          (Odd("no", "x"), RuntimeError), (Odd(lambda: 0, "no"), RuntimeError)]
)  # fmt: skip
def test_errors_of_an_answer_reach_the_caller(error, raised):
    def fails(_: None) -> None:
        raise error

    came, answer = pickle.loads(workers._answered(fails, None))
    assert (type(came), answer) == (raised, None)
    assert "no" in str(came) or "Odd" in str(came)


def test_an_answer_that_cannot_be_sent_is_an_error():
    came, _ = pickle.loads(workers._answered(lambda _: lambda: 0, None))
    assert isinstance(came, Exception)


@pytest.mark.parametrize("lost", [0, 1, 2, 3])
@pytest.mark.parametrize("error", [EOFError, ConnectionRefusedError, BrokenPipeError])
def test_a_lost_fork_server_is_started_again_but_not_without_end(monkeypatch, lost, error):
    monkeypatch.setattr(workers, "PAUSES", (0, 0, 0))

    class Process:
        starts = 0

        def start(self) -> None:
            self.starts += 1
            if self.starts <= lost:
                raise error

    process = Process()
    if lost == 3:
        with pytest.raises(WorkerLost, match="could not be started"):
            start(process)
    else:
        start(process)
        assert process.starts == lost + 1


@pytest.mark.skipif(not hasattr(signal, "pthread_sigmask"), reason="no masks of signals")
def test_the_server_of_workers_never_hears_ctrl_c_whatever_thread_starts_it(monkeypatch):
    masks: list[set[int]] = []
    monkeypatch.setattr(
        processes.forkserver, "ensure_running",
        lambda: masks.append(signal.pthread_sigmask(signal.SIG_BLOCK, ())),
    )  # fmt: skip
    worker_context([])
    with ThreadPoolExecutor(1) as pool:
        pool.submit(worker_context, []).result()
    assert [signal.SIGINT in mask for mask in masks] == [True, True]


def test_ctrl_c_waits_until_processes_have_started():
    reached = False
    # the tests themselves may run in the background, where Ctrl-C is ignored
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt), undisturbed():
            signal.raise_signal(signal.SIGINT)
            reached = True
    finally:
        signal.signal(signal.SIGINT, before)
    assert reached


def test_without_workers_the_caller_answers_when_asked():
    asked = []
    answers = worker_answers(str, (asked.append(n) or n for n in range(3)), 0, [])
    assert (next(answers), asked) == ("0", [0])


@pytest.mark.parametrize(("error", "told"), [(BlockingIOError(11, "fork"), ""), (TypeError(), "x")])
def test_a_fork_server_that_the_system_refuses_a_process_prints_no_traceback(
    monkeypatch, capsys, error, told
):
    monkeypatch.setattr(sys, "excepthook", sys.__excepthook__)
    importlib.reload(fork_server)
    sys.excepthook(type(error), error, None)
    assert bool(capsys.readouterr().err) == bool(told)


def test_a_worker_that_can_start_no_thread_says_so_by_its_exit_code(monkeypatch):
    def refused(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    ended: list[int] = []
    monkeypatch.setattr(multiprocessing, "parent_process", multiprocessing.current_process)
    monkeypatch.setattr(threading.Thread, "start", refused)
    monkeypatch.setattr(os, "_exit", ended.append)
    processes.end_with_parent()
    assert "ulimit -u" in processes.how_ended(*ended)
