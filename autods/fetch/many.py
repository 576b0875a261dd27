"""Fetch many datasets at once: bounded per host, one failure never stops another.

A dataset whose failure may pass goes back into the queue; no thread sleeps for it. All state
is in files (archives, parts, records), so an interrupted run continues from them.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import UTC, datetime
from queue import SimpleQueue
from threading import Thread
from typing import Any

from autods.core.files import locked, write_json
from autods.core.progress import Board, Stopped
from autods.core.refusals import refusal
from autods.core.root import DataRoot
from autods.errors import AutodsError, QuotaExceeded, RulesNotAccepted
from autods.fetch import fetch_dataset
from autods.fetch.mirrors import check_mirrors
from autods.fetch.plan import PlannedDataset, plan_dataset
from autods.fetch.queue import Queue, Task
from autods.fetch.report import Report, Row, failed_row, look
from autods.fetch.space import check_space, known_remaining
from autods.manifest.sources import Release

PAUSES = (600.0, 3600.0)  # seconds before the second and the third round
ASKED = 4  # tries of one dataset in which a host's own wish to wait is followed
LONGEST_ASKED = 3600.0  # seconds; who asks for more is not waited for
LAST_WORDS = 2.0  # seconds that threads have to end after an interruption


def fetch_many(
    manifests: Sequence[Release],
    root: DataRoot,
    board: Board,
    mirrors: Sequence[str] = (),
    *,
    jobs: int = 4,
    per_host: int = 2,
    pauses: Sequence[float] = (),
    accept: Collection[str] = (),
    unread: Mapping[str, AutodsError] | None = None,
) -> Report:
    """Fetch all files of several datasets; return how each of them ended.

    The record `DataRoot.fetch_record` is written after each dataset and at the end. Nothing is
    fetched if the plan is known not to fit on the disk (`DiskFull`).

    Parameters
    ----------
    jobs
        Datasets that are fetched at the same time.
    per_host
        How many of these may come from one host. What counts is the mirror asked first;
        all local files count as one host.
    pauses
        Seconds after which a dataset whose cause may pass (a host that is down, a quota) is
        tried again, one for each further round. A quota's turn comes when all others have
        ended. Up to `LONGEST_ASKED`, what a host itself asks to wait is always waited.
    accept
        Datasets whose licence the user accepts, or ``all``.
    unread
        Datasets whose manifest cannot be read, and why: they are reported as failed.
    """
    check_mirrors(mirrors)
    report = Report(root, [*(unread or {}), *(manifest.name for manifest in manifests)])
    early = [failed_row(name, error, root) for name, error in (unread or {}).items()]
    tasks = []
    for manifest in manifests:
        try:
            plan = plan_dataset(manifest, root, mirrors)
            _check_acceptance(manifest, plan, accept)
        except Exception as error:  # whatever fails one dataset must not stop the others
            early.append(failed_row(manifest.name, error, root, files=look(manifest, root)))
        else:
            tasks.append(Task(manifest, plan))
    plans = [task.plan for task in tasks]
    check_space(plans, root)
    board.expect(known_remaining(plans), least=any(plan.remaining is None for plan in plans))
    record = _Record(report, board)
    for row in early:
        record.add(row)
    queue = Queue(tasks, per_host)
    _run(queue, jobs, lambda task: _one(task, root, board, mirrors), pauses, record)
    return report


class _Record:
    """The report as it grows: told on the board, and written after each dataset."""

    def __init__(self, report: Report, board: Board) -> None:
        self.report, self.board = report, board
        self._ended, self._failed = 0, False

    def add(self, row: Row, pause: float | None = None) -> None:
        """Enter a dataset that has ended, or failed for now and is tried again after a pause."""
        count = len(self.report.asked)
        self.report.rows[row.dataset] = row
        self._ended += pause is None
        if pause is not None:
            self._say(row, f"{row.state}; trying again in {duration(pause)}")
        elif count > 1:  # of a single one, its own lines and the command's error say everything
            self.board.ended()
            self._say(row, f"{row.state} ({self._ended} of {count})")
        self.write()

    def _say(self, row: Row, state: str) -> None:
        named = f"{row.dataset}: "
        lines = [state, *row.message.splitlines()]
        self.board.note("\n".join(named + line.removeprefix(named) for line in lines))

    def write(self) -> None:
        """Write the record; that it cannot be written (a full disk) must not end the run."""
        path = self.report.root.fetch_record()
        try:
            with locked(path, timeout=10.0):
                write_json(path, self.report.as_json())
        except (OSError, AutodsError) as error:
            if not self._failed:
                why = refusal(error).why if isinstance(error, OSError) else error
                self.board.note(f"the record {path} cannot be written: {why}")
            self._failed = True


def _run(
    queue: Queue, jobs: int, one: Callable[[Task], Row], pauses: Sequence[float], record: _Record
) -> None:
    """Work the queue off in threads; collect their rows in this one, which signals reach."""
    rows: SimpleQueue[tuple[Row, float | None]] = SimpleQueue()

    def work() -> None:
        while task := queue.take():
            try:
                row = one(task)
            except Stopped:
                return
            task.tries, task.seconds = task.tries + 1, row.seconds
            pause = pause_after(row.again, task.tries, pauses)
            rows.put((row, pause))
            if pause is None:
                queue.ended(task)
            else:
                queue.again(task, pause, last=row.state == QuotaExceeded.cause)

    # Daemons: one that waits for a silent host must not hold up the end of the program.
    threads = [Thread(target=work, daemon=True) for _ in range(min(jobs, queue.length))]
    try:
        for thread in threads:
            thread.start()
        missing = queue.length
        while missing:
            row, pause = rows.get()
            record.add(row, pause)
            missing -= pause is None
        record.report.ended = datetime.now(UTC)
    finally:
        if record.report.ended is None:
            record.board.stop()
            queue.dissolve()
            until = time.monotonic() + LAST_WORDS
            for thread in threads:
                thread.join(max(0.0, until - time.monotonic()))
        record.write()


def pause_after(again: float | None, tries: int, pauses: Sequence[float]) -> float | None:
    """Return after how many seconds a failed fetch is tried again; ``None``: not any more.

    ``again`` is that of `FetchError`, ``pauses`` that of `fetch_many`.
    """
    if again is None:
        return None
    if 0 < again <= LONGEST_ASKED and tries <= max(ASKED, len(pauses)):
        return again
    return pauses[tries - 1] if again == 0 and tries <= len(pauses) else None


def duration(seconds: float) -> str:
    """Return a time to wait in words."""
    minutes = round(seconds / 60)
    return f"{minutes} minutes" if minutes > 1 else f"{seconds:.0f} seconds"


def _one(task: Task, root: DataRoot, board: Board, mirrors: Sequence[str]) -> Row:
    """Fetch one dataset; whatever goes wrong becomes its row."""
    began, name = time.monotonic(), task.manifest.name
    error: BaseException | None = None
    fetched = False
    try:
        outcome = fetch_dataset(task.manifest, root, board.of(name), mirrors)
        fetched = any(file.fetched for file in outcome)
    except Stopped:
        raise
    except BaseException as caught:  # a thread that ended without a row would be waited for
        error = caught
    files = look(task.manifest, root)
    facts: dict[str, Any] = {
        "seconds": task.seconds + time.monotonic() - began,
        "fetched": max(0, sum(file.arrived for file in files) - task.plan.here),
        "files": files,
    }
    if error is not None:
        return failed_row(name, error, root, **facts)
    return Row(name, "done" if fetched else "kept", **facts)


def _check_acceptance(manifest: Release, plan: PlannedDataset, accept: Collection[str]) -> None:
    """Refuse a dataset whose licence the user has not accepted and that is not here yet."""
    wanted = manifest.acceptance
    here = all(file.verified for file in plan.files)
    if wanted is None or here or manifest.name in accept or "all" in accept:
        return
    step = f"Read {wanted.url}; if you accept it, add --accept-licence {manifest.name}."
    raise RulesNotAccepted(
        f"{manifest.name}: nothing was fetched: its licence wants to be accepted first. "
        f"{wanted.text}",
        step,
        wanted.url,
    )
