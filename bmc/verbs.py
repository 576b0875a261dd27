"""The commands as functions: run a method, compare methods, report on finished runs."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from autods.core.progress import Progress, Silent, console_progress
from autods.errors import UsageError
from bmc.config import Config, Overrides

if TYPE_CHECKING:
    from autods.streams.stream import Stream
    from bmc.report.result import Result
    from bmc.report.table import Table


def run(
    stream: Stream,
    method: str = "bmc",
    config: Config | None = None,
    out: Path | str | None = None,
    *,
    device: str = "auto",
    threads: int = 1,
    workers: int = 1,
    resume: bool = True,
    quiet: bool = False,
    **options: Any,
) -> Result:
    """Train one method on a stream and return its results.

    Parameters
    ----------
    stream
        What `autods.open_stream` returned; its scenario is the run's.
    method
        A name of ``bmc.METHODS``.
    config
        Hyper-parameters; default: `Config()`.
    out
        Folder of runs; default ``runs/STREAM-SCENARIO``. The run has a folder of its own in
        it, named by what determines its numbers.
    device
        ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
    threads
        Threads of each process. The last bits of results depend on it.
    workers
        Processes that train the experts of BMC; 1: this one. More import the calling program
        again: a script must start below ``if __name__ == "__main__"``.
    resume
        Keep a finished run and complete an interrupted one; without, both are refused.
    quiet
        Show no progress on standard error.
    **options
        Fields of ``config`` and options of the method, such as ``epochs=3`` or ``lam=0.1``,
        which replace those of ``config``; ``bmc-stream methods NAME`` lists them.

    Returns
    -------
    Result
        ``result.metrics["class-il"]["final_mean"]`` and others, as fractions; ``result.R``, the
        accuracies after each evaluation by scenario; ``result.costs``; ``result.table()``, which
        notebooks show; ``result.report("report.html")`` writes the page.

    Raises
    ------
    UnknownName, UsageError
        When the method, an option or the device is unknown or outside its range, or the
        method cannot learn this stream.
    RunExists, RunMismatch, CheckpointError, Busy
        When a run is in the folder and ``resume`` is false, is damaged, or is under way.
    """
    from autods.core.devices import choose_device
    from bmc.engines import crew_devices, open_engine
    from bmc.methods import config_for
    from bmc.report.result import result_of
    from bmc.runs.choice import folder_name
    from bmc.runs.identity import identity_of, label_of, run_name
    from bmc.runs.orders import one_task
    from bmc.runs.run import run as run_method

    _check_stream(stream, opened=True)
    where, chosen = (
        choose_device(device, ("cpu", "cuda")),
        config_for(method, config or Config(), {method: options}),
    )
    seed = stream.provenance.get("order_seed")
    label = label_of(method, "paper" if seed is None else seed, chosen.seed)
    folder = Path(out or Path("runs", folder_name(stream.name, stream.scenario)))
    folder /= run_name(label, identity_of(stream, method, chosen, where), threads)
    progress = _progress(quiet)
    if len(stream.tasks) == 1:
        cure = "Open it with classes_per_task=N or a larger max_tasks, or open several datasets."
        progress.note(one_task(stream, cure))
    devices = crew_devices(where, threads, workers)
    with open_engine("local", note=progress.note, devices=devices) as engine:
        made = run_method(
            stream, method, chosen, folder,
            device=where, engine=engine, threads=threads, resume=resume, report=progress,
        )  # fmt: skip
    return result_of(made)


def compare(
    stream: str | Path = "synthetic",
    methods: str | Iterable[str] = "all",
    orders: int | Sequence[int | str] = 5,
    config: Config | None = None,
    out: Path | str | None = None,
    *,
    scenario: str = "class-il",
    seeds: int = 1,
    overrides: Overrides | None = None,
    tuned: Path | str | None = None,
    jobs: int = 1,
    device: str = "auto",
    resume: bool = True,
    quiet: bool = False,
    **opening: Any,
) -> Table:
    """Compare methods over orders of the tasks, with intervals and paired tests.

    Runs are processes of their own, which import the calling program again: a script must
    start below ``if __name__ == "__main__"``. Fine-tuning is always among the runs.

    Parameters
    ----------
    stream
        A name or file that `autods.open_stream` opens; each process opens it anew.
    methods
        Names of ``bmc.METHODS``, or ``all`` that can learn the stream.
    orders
        Number of orders, which are drawn with the seeds 0, 1 ...; or these seeds.
    config
        Hyper-parameters that all methods share; default: `Config()`.
    out
        Folder for runs, tables and report; default ``runs/STREAM-SCENARIO-compare``.
    scenario
        ``class-il`` or ``task-il``: the one that ranks; both are measured.
    seeds
        Number of run seeds.
    overrides
        Values of single methods, such as ``{"er": {"memory": 500}}``.
    tuned
        The ``tune.json`` of ``bmc-stream tune``, whose values single methods get.
    jobs
        Runs at once.
    device, resume, quiet
        As of `run`.
    **opening
        How the stream is opened: ``encoder``, ``root``, ``manifests``, ``protocol``,
        ``classes_per_task``, ``max_tasks``; ``scale`` and ``stream_seed`` of a generated one.

    Returns
    -------
    Table
        ``table.frame`` is a `pandas.DataFrame` of all numbers, best method first;
        ``table.csv()`` and ``table.latex(caption)`` write it. The files are in ``out``.

    Raises
    ------
    UnknownName, UsageError
        When a name or an option is unknown, or a method cannot learn this stream.
    RunExists
        When runs of it are in the folder and ``resume`` is false.
    RunsFailed
        When a run failed; the others are kept.
    """
    from bmc.runs.choice import StreamChoice
    from bmc.studies.compare import compare_study
    from bmc.studies.engine import conduct
    from bmc.studies.options import StudyOptions

    _check_stream(stream, opened=False)
    study = compare_study(
        StreamChoice(scenario, str(stream), **opening),
        config or Config(),
        overrides or {},
        methods=_named(methods),
        orders=range(orders) if isinstance(orders, int) else orders,
        seeds=seeds,
        tuned=Path(tuned) if tuned else None,
    )
    options = StudyOptions(jobs=jobs, device=device, out=Path(out) if out else None, resume=resume)
    executed, findings = conduct(study, options, _progress(quiet))
    executed.check("are in the report")
    assert findings is not None and findings.table is not None  # every run is finished
    return findings.table


def report(
    runs: Path | str | Iterable[Path | str],
    out: Path | str = "report.html",
    root: Path | str | None = None,
) -> Path:
    """Write the report of finished runs, one self-contained HTML page, and return its path.

    Parameters
    ----------
    runs
        Run folders, or folders that hold some.
    out
        The page.
    root
        Data root where images of wrong answers are looked for; default: ``AUTODS_ROOT``, else
        the user's data folder.

    Raises
    ------
    UsageError
        When there is no finished run, or runs cannot be compared.
    """
    from bmc.report.page import build_report
    from bmc.runs.divergence import ranked
    from bmc.runs.folder import diverged_runs, finished_runs

    folders = [Path(one) for one in ([runs] if isinstance(runs, str | Path) else runs)]
    kept, notes = ranked(finished_runs(folders), diverged_runs(folders))
    return build_report(kept, Path(out), notes, None if root is None else Path(root))


def _check_stream(stream: object, opened: bool) -> None:
    """Refuse the name of a stream where an opened one is expected, and the other way round."""
    if isinstance(stream, str | Path) == opened:
        wanted = "a stream that autods.open_stream opened"
        if not opened:
            wanted = "the name or the file of a stream, since each process opens it anew"
        raise UsageError(f"expected {wanted}, got {type(stream).__name__}; nothing was run.")


def _named(methods: str | Iterable[str]) -> str:
    """Return names of methods with commas; a class in place of a name raises `UsageError`."""
    from bmc.methods import METHODS

    found = [methods] if isinstance(methods, str | type) else list(methods)
    for method in found:
        if not isinstance(method, str):
            METHODS.get(method)  # raises what tells how a method gets a name
    return ",".join(found)


def _progress(quiet: bool) -> Progress:
    return Silent() if quiet else console_progress()
