"""Fetch many datasets at once: bounded per host, one failure never stops another.

Worker threads take the next dataset whose host has room. Everything that is known is in
files (archives, parts, records), so a run that was ended at any moment goes on from them.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from queue import SimpleQueue
from threading import Condition, Thread
from typing import Any

from autods.errors import AutodsError, RulesNotAccepted, UsageError
from autods.fetch import fetch_dataset
from autods.fetch.plan import PlannedDataset, check_space, plan_dataset
from autods.fetch.report import Report, Row, failed_row, look
from autods.files import locked, write_json
from autods.manifest import Manifest
from autods.progress import Board, Stopped
from autods.root import DataRoot

LAST_WORDS = 2.0  # seconds that threads have to end after an interruption


def fetch_many(
    manifests: Sequence[Manifest],
    root: DataRoot,
    board: Board,
    mirrors: Sequence[str] = (),
    *,
    jobs: int = 4,
    per_host: int = 2,
    accept: Collection[str] = (),
    unread: Mapping[str, AutodsError] | None = None,
) -> Report:
    """Fetch all files of several datasets; return how each of them ended.

    The record `DataRoot.fetch_record` is written after each dataset and at the end.

    Parameters
    ----------
    manifests
        The datasets, in the order in which they are begun.
    root
        Where the archives go.
    board
        Told what happens.
    mirrors
        See `autods.fetch.fetch_dataset`.
    jobs
        Datasets that are fetched at the same time.
    per_host
        How many of these may come from one host. What counts is the mirror asked first;
        all local files count as one host.
    accept
        Datasets whose licence the user accepts, or ``all``. Only datasets with an
        ``acceptance`` in their manifest ask for that.
    unread
        Datasets whose manifest cannot be read, and why: they are reported as failed.

    Raises
    ------
    DiskFull
        When what is still to come is known not to fit; nothing was fetched.
    UsageError
        When an extra mirror is no address and no folder.
    """
    report = Report(root, [*(unread or {}), *(manifest.name for manifest in manifests)])
    early = [failed_row(name, error, root) for name, error in (unread or {}).items()]
    tasks = []
    for manifest in manifests:
        try:
            plan = plan_dataset(manifest, root, mirrors)
            _check_acceptance(manifest, plan, accept)
        except UsageError:
            raise
        except Exception as error:
            early.append(failed_row(manifest.name, error, root, files=look(manifest, root)))
        else:
            tasks.append(_Task(manifest, plan))
    check_space([task.plan for task in tasks], root)
    record = _Record(report, board)
    for row in early:
        record.add(row)
    _run(_Line(tasks, per_host), jobs, lambda task: _one(task, root, board, mirrors), record)
    return report


@dataclass(frozen=True)
class _Task:
    manifest: Manifest
    plan: PlannedDataset


class _Line:
    """The datasets that wait, and how many are under way at each host."""

    def __init__(self, tasks: Sequence[_Task], per_host: int) -> None:
        self._waiting = list(tasks)
        self._per_host = per_host
        self._busy: Counter[str] = Counter()
        self._changed = Condition()
        self.length = len(tasks)

    def take(self) -> _Task | None:
        """Wait for the first dataset whose host has room; ``None`` when none waits any more."""
        with self._changed:
            while self._waiting:
                for task in self._waiting:
                    if self._busy[task.plan.host] < self._per_host:
                        self._waiting.remove(task)
                        self._busy[task.plan.host] += 1
                        return task
                self._changed.wait()
            return None

    def ended(self, task: _Task) -> None:
        """Make room at the host of a dataset."""
        with self._changed:
            self._busy[task.plan.host] -= 1
            self._changed.notify_all()

    def dissolve(self) -> None:
        """Let nobody begin another dataset."""
        with self._changed:
            self._waiting.clear()
            self._changed.notify_all()


class _Record:
    """The report as it grows: told on the board, and written after each dataset."""

    def __init__(self, report: Report, board: Board) -> None:
        self.report, self.board = report, board
        self._failed = False

    def add(self, row: Row) -> None:
        """Enter a dataset that has ended."""
        rows, count = self.report.rows, len(self.report.asked)
        rows[row.dataset] = row
        if count > 1:  # of a single one, its own lines and the command's error say everything
            named = f"{row.dataset}: "
            lines = [f"{row.state} ({len(rows)} of {count})", *row.message.splitlines()]
            self.board.ended("\n".join(named + line.removeprefix(named) for line in lines))
        self.write()

    def write(self) -> None:
        """Write the record; that it cannot be written (a full disk) must not end the run."""
        path = self.report.root.fetch_record()
        try:
            with locked(path, timeout=10.0):
                write_json(path, self.report.as_json())
        except (OSError, AutodsError) as error:
            if not self._failed:
                self.board.note(f"the record {path} cannot be written: {error}")
            self._failed = True


def _run(line: _Line, jobs: int, one: Callable[[_Task], Row], record: _Record) -> None:
    """Work the line off in threads; collect their rows in this one, which signals reach."""
    rows: SimpleQueue[Row] = SimpleQueue()

    def work() -> None:
        while task := line.take():
            try:
                rows.put(one(task))
            except Stopped:
                return
            finally:
                line.ended(task)

    # Daemons: one that waits for a silent host must not hold up the end of the program.
    threads = [Thread(target=work, daemon=True) for _ in range(min(jobs, line.length))]
    try:
        for thread in threads:
            thread.start()
        for _ in range(line.length):
            record.add(rows.get())
        record.report.ended = datetime.now(UTC)
    finally:
        if record.report.ended is None:
            record.board.stop()
            line.dissolve()
            until = time.monotonic() + LAST_WORDS
            for thread in threads:
                thread.join(max(0.0, until - time.monotonic()))
        record.write()


def _one(task: _Task, root: DataRoot, board: Board, mirrors: Sequence[str]) -> Row:
    """Fetch one dataset; whatever goes wrong becomes its row."""
    began, name = time.monotonic(), task.manifest.name
    error: BaseException | None = None
    fetched = False
    try:
        fetched = bool(fetch_dataset(task.manifest, root, board.of(name), mirrors).fetched)
    except Stopped:
        raise
    except BaseException as caught:  # a thread that ended without a row would be waited for
        error = caught
    files = look(task.manifest, root)
    facts: dict[str, Any] = {
        "seconds": time.monotonic() - began,
        "fetched": max(0, sum(file.arrived for file in files) - task.plan.here),
        "files": files,
    }
    if error is not None:
        return failed_row(name, error, root, **facts)
    return Row(name, "done" if fetched else "kept", **facts)


def _check_acceptance(manifest: Manifest, plan: PlannedDataset, accept: Collection[str]) -> None:
    """Refuse a dataset whose licence the user has not accepted and that is not here yet."""
    wanted = manifest.acceptance
    here = all(file.verified for file in plan.files)
    if wanted is None or here or manifest.name in accept or "all" in accept:
        return
    step = f"Read {wanted.url}; if you accept it, add --accept-licence {manifest.name}."
    raise RulesNotAccepted(
        f"{manifest.name}: nothing was fetched: its licence wants to be accepted first. "
        f"{wanted.text} {step}",
        step,
        wanted.url,
    )
