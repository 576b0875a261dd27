"""The commands as functions: fetch, index and extract datasets, and list them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import closing, nullcontext
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from autods.core.progress import Board, Progress, Silent, console_board, console_progress
from autods.core.root import DataRoot
from autods.errors import AutodsError, DatasetsFailed, FetchError, UsageError
from autods.manifest.catalogue import Catalogue

if TYPE_CHECKING:
    from autods.encode.extract import ExtractOutcome
    from autods.fetch.report import Report, Row
    from autods.index.samples import IndexSummary

OutcomeT = TypeVar("OutcomeT")


def datasets(
    stream: str | None = None,
    *,
    exclude: str | Iterable[str] = (),
    max_size: str | None = None,
    access: str | None = None,
    catalogue: Catalogue | None = None,
) -> list[str]:
    """List the names of all datasets, sorted, or those of a stream in its order.

    ``Catalogue().dataset(name)`` has all that is known of one: classes, licence, counts.

    Parameters
    ----------
    exclude
        Names or globs to leave out.
    max_size
        Leave out datasets whose files are known to be larger: ``50GB``.
    access
        Only datasets of this access: ``open``, ``kaggle``, ``kaggle-competition``, ``form``;
        several are separated by commas.
    catalogue
        Manifests and streams that can be named; default: the shipped ones.

    Raises
    ------
    UnknownName, UsageError, ManifestError
        When a name does not exist, everything is left out, or the stream's file is wrong.
    """
    from autods.manifest.select import Selection, select

    selection = Selection((), stream is None, stream, _listed(exclude), max_size, access)
    return select(selection, catalogue or Catalogue()).names


def fetch(
    names: str | Iterable[str],
    root: DataRoot | Path | str | None = None,
    *,
    mirrors: Sequence[str] = (),
    jobs: int = 4,
    per_host: int = 2,
    rounds: int = 1,
    accept_licence: str | Iterable[str] = (),
    kaggle_version: int | Mapping[str, int] | None = None,
    catalogue: Catalogue | None = None,
    quiet: bool = False,
) -> Report:
    """Download the archives of datasets and verify them; what was interrupted is resumed.

    Parameters
    ----------
    names
        One name or several; ``autods.datasets()`` are all.
    root
        Data root; default: ``AUTODS_ROOT``, else the user's data folder.
    mirrors
        URLs or folders tried first; files are at ``<mirror>/<dataset>/<file>``.
    jobs, per_host
        Datasets fetched at the same time, and how many of these from one host.
    rounds
        Tries of datasets whose host is down or over its quota, 1 to 3, with pauses of 10 and
        60 minutes.
    accept_licence
        Datasets whose licence you have read and accept, or ``all``.
    kaggle_version
        Version of a Kaggle dataset to ask for instead of the manifest's: a number for one
        dataset, name to number for several. The checksums stay.
    catalogue
        Manifests that can be named; default: the shipped ones, and those of the folders that
        the root remembers.
    quiet
        Show no progress on standard error.

    Returns
    -------
    Report
        ``report.rows[name]`` says how each dataset ended, and what came of each file.

    Raises
    ------
    FetchError
        When the one dataset that was named cannot be fetched; of the class of its cause.
    DatasetsFailed
        When some of several cannot be fetched; the others are here.
    UnknownName, ManifestError, UsageError
        When a name is unknown, or a manifest or an option is wrong.
    """
    from autods.fetch.many import PAUSES, fetch_many
    from autods.fetch.versions import at_version, versions_asked

    root, chosen = DataRoot.open(root), _listed(names)
    catalogue = catalogue or Catalogue(root=root)
    versions = versions_asked(kaggle_version, chosen)
    manifests = [at_version(catalogue.dataset(name), versions.get(name)) for name in chosen]
    board = nullcontext(Board()) if quiet else console_board(len(chosen))
    with board as shown:
        report = fetch_many(
            manifests,
            root,
            shown,
            mirrors,
            jobs=jobs,
            per_host=per_host,
            pauses=PAUSES[: rounds - 1],
            accept=_listed(accept_licence),
        )
    catalogue.remember(root, chosen)
    failed = {row.dataset: _fetch_error(row) for row in report.in_order() if not row.here}
    if failed and len(chosen) == 1:
        raise failed[chosen[0]]
    if failed:
        raise DatasetsFailed(failed, report)
    return report


def index(
    names: str | Iterable[str] | None = None,
    root: DataRoot | Path | str | None = None,
    *,
    catalogue: Catalogue | None = None,
    quiet: bool = False,
) -> dict[str, IndexSummary]:
    """Write the sample index of fetched datasets: ids, splits, labels, and where images lie.

    Parameters
    ----------
    names
        One name or several; default: every dataset that is fetched.
    root, catalogue, quiet
        As of `fetch`.

    Returns
    -------
    dict
        What was done, by dataset.

    Raises
    ------
    ContainerError, LayoutError, UnsafePath, Busy
        When the one dataset that was named cannot be indexed.
    DatasetsFailed
        When some of several cannot be indexed; the others are.
    UnknownName, ManifestError, UsageError
        When a name is unknown, a manifest is wrong, or nothing is fetched.
    """
    from autods.index.samples import index_dataset

    root = DataRoot.open(root)
    catalogue = catalogue or Catalogue(root=root)
    progress, chosen = _progress(quiet), _fetched(names, catalogue, root)
    catalogue.remember(root, chosen)
    return _each(
        chosen, lambda name: index_dataset(catalogue.dataset(name), root, progress), progress
    )


def extract(
    names: str | Iterable[str] | None = None,
    root: DataRoot | Path | str | None = None,
    *,
    model: str = "ViT-B-32",
    pretrained: str | None = None,
    random_weights: int | None = None,
    precision: str = "fp32",
    device: str = "auto",
    batch_size: int = 64,
    workers: int | None = None,
    shard_size: int = 16_384,
    decoding: str = "reference",
    all_tasks: bool = False,
    catalogue: Catalogue | None = None,
    quiet: bool = False,
) -> dict[str, ExtractOutcome]:
    """Extract features of fetched datasets, which are indexed first; what is finished is kept.

    Parameters
    ----------
    names
        One name or several; default: every dataset that is fetched.
    model, pretrained
        Of open_clip; ``pretrained`` is a tag of published weights or a checkpoint file.
    random_weights
        Seed of random weights, to try the pipeline out.
    precision
        ``fp32``, ``fp16`` or ``bf16``.
    device
        ``auto``, ``cpu``, ``cuda``, or several: ``cuda:0,cuda:1``.
    batch_size
        Images encoded at once.
    workers
        Processes that decode images for each device; default: as many as suit. They import
        the calling program again, so a script must start below ``if __name__ == "__main__"``.
    shard_size
        Samples of one shard.
    decoding, all_tasks
        As of `autods.encode.extract.extract_dataset`.
    root, catalogue, quiet
        As of `fetch`.

    Returns
    -------
    dict
        What was done, by dataset; ``outcome.encoder`` is the name that streams are opened by.

    Raises
    ------
    EncoderError
        When the encoder cannot be built as asked.
    TooManyUnreadable, FeatureMismatch, Busy
        When the one dataset that was named cannot be extracted.
    DatasetsFailed
        When some of several cannot be extracted; the others are.
    UnknownName, ManifestError, UsageError
        When a name is unknown, a manifest or an option is wrong, or nothing is fetched.
    """
    from autods.core.extras import require

    require("autods.extract", "torch", "torchvision", "open_clip")
    from autods.encode.encoders.open_clip import load_encoder
    from autods.encode.engines.devices import choose_devices, local_engine
    from autods.encode.extract import extract_dataset, write_record
    from autods.index.samples import index_dataset

    root = DataRoot.open(root)
    catalogue = catalogue or Catalogue(root=root)
    chosen, progress = _fetched(names, catalogue, root), _progress(quiet)
    catalogue.remember(root, chosen)
    factory = partial(load_encoder, model, pretrained, random_weights, precision)
    encoder, engine = local_engine(factory, choose_devices(device), workers, progress)
    outcomes: list[ExtractOutcome] = []

    def one(name: str) -> ExtractOutcome:
        manifest = catalogue.dataset(name)
        index_dataset(manifest, root, progress)
        outcome = extract_dataset(
            manifest,
            root,
            encoder,
            batch_size=batch_size,
            shard_size=shard_size,
            all_tasks=all_tasks,
            decoding=decoding,
            engine=engine,
            progress=progress,
        )
        outcomes.append(outcome)
        write_record(root, outcomes)
        return outcome

    with closing(engine):
        return _each(chosen, one, progress)


def _listed(names: str | Iterable[str]) -> list[str]:
    return [names] if isinstance(names, str) else list(dict.fromkeys(names))


def _fetched(names: str | Iterable[str] | None, catalogue: Catalogue, root: DataRoot) -> list[str]:
    """Return the datasets that are named, else those that are fetched."""
    from autods.checks.inventory import fetched

    chosen = fetched(catalogue, root) if names is None else _listed(names)
    if not chosen:
        raise UsageError(
            f"expected the name of a dataset, and none is fetched under {root.path}; nothing was "
            "done. Start with autods.fetch(NAME)."
        )
    for name in chosen:
        catalogue.path(name)
    return chosen


def _progress(quiet: bool) -> Progress:
    return Silent() if quiet else console_progress()


def _each(
    names: Sequence[str], action: Callable[[str], OutcomeT], progress: Progress
) -> dict[str, OutcomeT]:
    """Do something with each dataset; one that fails does not stop the others."""
    outcomes: dict[str, OutcomeT] = {}
    failures: dict[str, AutodsError] = {}
    for name in names:
        try:
            outcomes[name] = action(name)
        except AutodsError as error:
            if len(names) == 1:
                raise
            failures[name] = error
            progress.note(f"error: {name}: {error}")
    if failures:
        raise DatasetsFailed(failures, outcomes)
    return outcomes


def _fetch_error(row: Row) -> FetchError:
    """Return the error of a dataset that could not be fetched, of the class of its cause."""
    kinds = {kind.cause: kind for kind in FetchError.__subclasses__()}
    kind = kinds.get(row.state, FetchError)
    return kind(row.message, row.next_step, row.url, dataset=row.dataset, again=row.again)
