"""The one way of every study: plan, execute, collect, table, report.

What a study plans and what its runs say is in the file of its command; here is what all share.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

from autods.core.devices import choose_device
from autods.core.files import atomic, locked, write_json
from autods.core.progress import Progress, Silent
from autods.errors import AutodsError
from autods.streams.stream import Stream
from bmc.config import Config, Overrides
from bmc.methods.fit import choose_methods
from bmc.report import Run, build_report, load_runs
from bmc.report.damaged import readable
from bmc.report.table import Table
from bmc.runs.choice import StreamChoice
from bmc.runs.divergence import ranked
from bmc.runs.folder import RunExists
from bmc.runs.identity import identity_of, run_name
from bmc.runs.orders import Order, open_orders, single_task
from bmc.studies.execute import Job, Outcome, execute, runner_of
from bmc.studies.options import StudyOptions
from bmc.studies.plan import Design, PlannedRun

LOCK_SECONDS = 2.0  # a study is long: say at once that its folder is busy


class RunsFailed(AutodsError):
    """Some runs did not finish; the message names them."""


@dataclass(frozen=True)
class Executed:
    """What executing a study left."""

    jobs: Sequence[Job]
    runs: Mapping[str, Run]  # finished ones, by the label of their plan
    failed: Mapping[str, str]  # why a run failed or diverged, by the name of its folder
    notes: Sequence[str] = ()  # a line about each setting that diverged

    @property
    def diverged(self) -> dict[str, str]:
        """Why runs diverged, by the names of their folders."""
        names = [job.name for job in self.jobs if job.status == "diverged"]
        return {name: self.failed[name] for name in names if name in self.failed}

    def check(self, consequence: str, *, but_diverged: bool = False) -> None:
        """Raise `RunsFailed` that names the runs that failed or diverged, if any did.

        With ``but_diverged`` those that diverged are an answer and no failure.
        """
        diverged = self.diverged
        failed = {name: why for name, why in self.failed.items() if name not in diverged}
        named = failed if but_diverged else self.failed
        if not named:
            return
        shown = "\n".join(f"  {name}: {message}" for name, message in named.items())
        verb = "failed" if not diverged or but_diverged else (
            "failed or diverged" if failed else "diverged")  # fmt: skip
        step = "Mend the cause and run the same command with --resume."
        raise RunsFailed(
            f"{len(named)} of {len(self.jobs)} runs {verb}, the others {consequence}:\n"
            f"{shown}" + (f"\n{step}" if failed else "")
        )


@dataclass(frozen=True)
class Findings:
    """What a study found: ``data`` becomes COMMAND.json, ``files["csv"]`` COMMAND.csv.

    ``show`` prints the table to fit the terminal and takes the name of the file that holds all of
    it; ``notes`` stand above the results of the report.
    """

    data: Mapping[str, Any]
    show: Callable[[str], None]
    files: Mapping[str, str] = field(default_factory=dict)
    notes: Sequence[str] = ()
    table: Table | None = None


@dataclass(frozen=True)
class Study:
    """Runs that answer one question."""

    command: str  # names its files
    name: str  # names its folder, unless another is given
    choice: StreamChoice
    streams: Mapping[Order, Stream]
    runs: Sequence[PlannedRun]
    collect: Callable[[Executed], Findings]  # needs at least one finished run
    notes: Sequence[str] = ()  # about methods and orders that were left out
    may_diverge: bool = False  # whether a run that diverged is an answer, and no failure

    def folder(self, options: StudyOptions) -> Path:
        """Return the folder of its runs."""
        return options.out or Path("runs") / self.name

    def jobs(self, options: StudyOptions) -> list[Job]:
        """Return the runs with where and on what each is executed."""
        device = choose_device(options.device, ("cpu", "cuda"))
        folder = self.folder(options).resolve()
        # Ray shows each task only the GPU that it was given
        place = device.type if options.runner == "ray" else str(device)
        # on a cluster each run has its threads' cores and no more
        share = 0 if options.runner == "ray" else max(1, min(options.jobs, len(self.runs)))
        jobs = []
        for run in self.runs:
            identity = identity_of(self.streams[run.order], run.method, run.config, device)
            name = run_name(run.label, identity, options.threads)
            jobs.append(Job(run, self.choice, folder / name, place, options.threads, share))
        return jobs


def design(
    choice: StreamChoice,
    methods: str,
    orders: Sequence[Order],
    config: Config,
    overrides: Overrides,
) -> tuple[Design, Mapping[Order, Stream], list[str], list[str]]:
    """Open a stream in several orders, and choose the methods (comma-separated, or ``all``).

    Also returns the streams by order, a line about each order that was skipped or about a stream
    of one task, and one about each method that cannot learn the stream.
    """
    streams, skipped = open_orders(choice, orders)
    skipped = [*single_task(choice, streams), *skipped]
    names, left_out = choose_methods(methods, streams.values(), config, overrides)
    tasks = {order: len(stream.tasks) for order, stream in streams.items()}
    return Design(names, config, overrides, tasks), streams, skipped, left_out


def conduct(
    study: Study,
    options: StudyOptions,
    progress: Progress | None = None,
    begun: Callable[[Path], None] = lambda folder: None,
) -> tuple[Executed, Findings | None]:
    """Execute a study or complete it, and write its files and report.

    Runs that fail are named in what is returned; the findings are those of the others, ``None``
    if no run is finished. ``begun`` takes the folder once nothing is in the way, before the
    first run. Raises `RunExists` if the folder holds runs of this study and ``options.resume`` is
    false, `Busy` while another process works on it.
    """
    progress = progress or Silent()
    runner = runner_of(options.runner, options.jobs, options.ray_address, progress.partly)
    jobs, folder = study.jobs(options), study.folder(options)
    with locked(folder / study.command, LOCK_SECONDS):
        known = [job.name for job in jobs if job.status != "to do"]
        if known and not options.resume:
            raise RunExists(
                f"{folder} already holds {len(known)} runs of this {study.command}, {known[0]} "
                "among them; nothing was run. Add --resume to complete or extend it, or choose "
                "another --out."
            )
        begun(folder)
        kept = {job.name for job in jobs if job.status == "finished"}
        progress.start(study.command.capitalize(), len(jobs), "runs", done=len(kept))
        outcomes = execute(jobs, runner, partial(_show, progress, kept))
        progress.finish()
        messages = {o.job.name: o.message for o in outcomes if o.message is not None}
        failed = {job.name: messages[job.name] for job in jobs if job.name in messages}
        done = {job.folder: job for job in jobs if job.status == "finished"}
        _, damaged = readable(path for path, job in done.items() if job.name in kept)
        failed |= {done.pop(path).name: why for path, why in damaged.items()}
        left_out = [job.folder for job in jobs if job.status == "diverged"]
        usable, notes = ranked(done, left_out)
        finished = [done[path] for path in usable]
        if not finished:
            return Executed(jobs, {}, failed, notes), None
        folders = [job.folder for job in finished]
        labels = [job.run.label for job in finished]
        runs = dict(zip(labels, load_runs(folders), strict=True))
        executed = Executed(jobs, runs, failed, notes)
        findings = study.collect(executed)
        if notes:
            data = {**findings.data, "diverged": executed.diverged}
            known_notes = [note for note in notes if note not in findings.notes]
            findings = replace(findings, data=data, notes=[*findings.notes, *known_notes])
        for suffix, text in findings.files.items():
            with atomic(folder / f"{study.command}.{suffix}") as temporary:
                temporary.write_text(text, encoding="utf-8", newline="")
        write_json(folder / f"{study.command}.json", findings.data)
        build_report(folders, folder / "report.html", findings.notes, study.choice.root)
    return executed, findings


def _show(progress: Progress, kept: Collection[str], outcome: Outcome) -> None:
    if outcome.message is not None:
        progress.note(f"{outcome.job.name}: {outcome.message}")
    if outcome.detail:
        progress.note(outcome.detail)
    if outcome.job.name not in kept:
        progress.advance(1)
