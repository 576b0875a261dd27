"""Bring published feature sets under a data root: download, check, and install each whole.

They arrive below ``ROOT/published/NAME`` and are moved to their place when all of a set is there
and checked; until then nothing of it is among the features.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from autods.core.files import hash_file, held
from autods.core.progress import Board, Progress
from autods.core.root import DataRoot, inside
from autods.core.unchanged import place
from autods.errors import AutodsError, FeatureMismatch, StoreError
from autods.features.sets import list_features, open_features
from autods.fetch.digests import remove
from autods.fetch.many import fetch_many
from autods.fetch.report import Report, Row, failed_row
from autods.index.samples import load_samples
from autods.interop.shared.check import Checker
from autods.interop.shared.locate import Located
from autods.interop.shared.manifest import RECORD, SharedFeatures, SharedSet
from autods.manifest.catalogue import Catalogue
from autods.manifest.sources import Release
from autods.streams.checks import differing_facts

# Instead of 'autods import', which takes archives of datasets.
STEP = (
    "Tell those who published them, or name another copy of the folder with --mirror; what has "
    "arrived is kept."
)


@dataclass(frozen=True)
class Arrivals(DataRoot):
    """Where files arrive: laid out as a data root, so that a set is checked where it lies."""

    encoder: str = ""

    def archive(self, name: str, file: str) -> Path:
        """Return the place of one file of a feature set."""
        return inside(self.features(self.encoder, name), file)

    @classmethod
    def of(cls, root: DataRoot, shared: SharedFeatures) -> Arrivals:
        """Return where the sets of a features manifest arrive under a root."""
        return cls(root.path / "published" / shared.name, encoder=shared.encoder)


@dataclass
class Plan:
    """What is to be done for each dataset of a features manifest."""

    arrivals: Arrivals
    releases: list[Release]  # to fetch
    kept: list[str]  # installed already
    refused: dict[str, AutodsError]


def plan_sets(located: Located, root: DataRoot, names: Sequence[str], catalogue: Catalogue) -> Plan:
    """Tell the sets that are installed from those to fetch, and refuse those that do not fit."""
    shared = located.shared
    plan = Plan(Arrivals.of(root, shared), [], [], {})
    for one in shared.of(names):
        try:
            if _is_installed(root, shared, one):
                plan.kept.append(one.dataset)
                continue
            _check_room(root, shared, one)
            _check_index(root, one, catalogue)
            _check_encoder(root, shared)
        except AutodsError as error:
            plan.refused[one.dataset] = error
        else:
            plan.releases.append(one.release(located.mirrors(one)))
    return plan


def of_mirrors(shared: SharedFeatures, mirrors: Sequence[str]) -> list[str]:
    """Return where mirrors of the published folder hold the files of these feature sets."""
    return [f"{base.rstrip('/')}/{shared.name}" for base in mirrors]


def fetch_sets(
    located: Located,
    plan: Plan,
    root: DataRoot,
    board: Board,
    mirrors: Sequence[str] = (),
    **options: Any,
) -> Report:
    """Fetch the sets of a plan and install each; return how every one of them ended.

    ``mirrors`` hold copies of the published folder. ``options`` as of `fetch_many`.
    """
    shared = located.shared
    own = of_mirrors(shared, mirrors)
    if plan.releases:
        shared.write(plan.arrivals.path)  # licences and citations stay with the features
    report = fetch_many(plan.releases, plan.arrivals, board, own, unread=plan.refused, **options)
    for name, ended in report.rows.items():
        if "'autods import " in ended.next_step:
            report.rows[name] = replace(ended, next_step=STEP)
    with Checker() as checker:
        for one in shared.of([release.name for release in plan.releases]):
            row = report.rows.get(one.dataset)
            if row is None or not row.here:
                continue
            try:
                install(root, shared, one, plan.arrivals, checker, board.of(one.dataset))
                report.rows[one.dataset] = replace(row, state="done")  # all may have been here
            except AutodsError as error:
                report.rows[one.dataset] = failed_row(one.dataset, error, root, files=row.files)
    for name in plan.kept:
        report.asked.append(name)
        report.rows[name] = Row(name, "kept")
    report.asked.sort(key=shared.names().index)
    return report


def install(
    root: DataRoot,
    shared: SharedFeatures,
    one: SharedSet,
    arrivals: Arrivals,
    checker: Checker,
    progress: Progress,
) -> None:
    """Check a set that has arrived and move it to its place, all of it at once.

    Raises `StoreError` if it is not what the features manifest states, and `FeatureMismatch` if
    other features have come to stand there.
    """
    origin, target = (
        arrivals.features(shared.encoder, one.dataset),
        root.features(shared.encoder, one.dataset),
    )
    lock = held(target, f"{one.dataset} by {shared.encoder}", progress.note)
    with lock:
        if _is_installed(root, shared, one):  # by another process, since the plan
            return
        _check_room(root, shared, one)
        _leave_only(origin, {file.name for file in one.files})
        progress.note(f"checking {one.dataset}")
        if problems := checker.problems(arrivals, shared, one):
            shown = "\n".join(f"  {problem}" for problem in problems[:5])
            raise StoreError(
                f"{one.dataset}: the features that arrived are not what their manifest states; "
                f"nothing was installed:\n{shown}\nTell those who published them; {origin} holds "
                "them, and can be deleted."
            )
        target.parent.mkdir(parents=True, exist_ok=True)
        with suppress(OSError):
            target.rmdir()  # an empty folder is no features
        try:
            origin.rename(target)
        except OSError as error:
            raise StoreError(
                f"{one.dataset}: {origin} cannot be moved to {target}: {error.strerror}; nothing "
                "was installed. Mend the cause, then run the same command again."
            ) from None
        for left in (arrivals.record(one.dataset), place(origin)):
            left.unlink(missing_ok=True)


def _is_installed(root: DataRoot, shared: SharedFeatures, one: SharedSet) -> bool:
    """Tell whether these very features are installed: by their record, and what opening checks."""
    record = root.feature_record(shared.encoder, one.dataset)
    stated: Mapping[str, Any] = {file.name: file for file in one.files}
    if not record.is_file() or hash_file(record, "sha256") != stated[RECORD].sha256:
        return False
    folder = root.features(shared.encoder, one.dataset)
    for name, file in stated.items():
        path = folder / name
        if not path.is_file() or path.stat().st_size != file.size:
            raise StoreError(
                f"{path}: missing or of another size than published ({file.size:,} bytes); nothing "
                f"was changed. Move {folder} away, then run the same command again."
            )
    open_features(root, shared.encoder, one.dataset)
    return True


def _check_room(root: DataRoot, shared: SharedFeatures, one: SharedSet) -> None:
    """Refuse to put features where others are, finished or begun."""
    folder = root.features(shared.encoder, one.dataset)
    if folder.exists() and any(folder.iterdir()):
        finished = root.feature_record(shared.encoder, one.dataset).is_file()
        what = "other features" if finished else "begun or other files"
        raise FeatureMismatch(
            f"{folder} holds {what} of '{one.dataset}' by '{shared.encoder}'; they were kept, the "
            "published ones were not fetched. Move that folder away, then run the same command "
            "again."
        )


def _check_index(root: DataRoot, one: SharedSet, catalogue: Catalogue) -> None:
    """Refuse features of images that no stream here would use: of another manifest or index."""
    if not one.samples_sha256:
        return  # imported: of no manifest
    if one.dataset in catalogue.datasets():
        today = catalogue.dataset(one.dataset).fingerprint()
        if today != one.fingerprint:
            raise FeatureMismatch(
                f"'{one.dataset}' was published from manifest {one.fingerprint[:12]}, "
                f"{catalogue.path(one.dataset)} is {today[:12]}; nothing of it was fetched. Name "
                "the folder of the manifest it was made from with --manifests, or use the version "
                "of autods that published it."
            )
    if root.samples(one.dataset).is_file():
        from autods.encode.plan import digest_samples

        found = digest_samples(load_samples(root, one.dataset))
        if found != one.samples_sha256:
            raise FeatureMismatch(
                f"'{one.dataset}' was published from sample index {one.samples_sha256[:12]}, the "
                f"one under {root.path} is {found[:12]}: a sample, split or label differs; nothing "
                "of it was fetched. Index the dataset with the manifest it was made from, or use "
                "another --root."
            )


def _check_encoder(root: DataRoot, shared: SharedFeatures) -> None:
    """Refuse features that are not of the encoder whose name they bear here."""
    for name in list_features(root, shared.encoder):
        stored = open_features(root, shared.encoder, name)
        one = {**stored.info.encoder, "dimensions": stored.dim}
        two = {**shared.provenance, "dimensions": shared.dim}
        if differing := differing_facts(one, two):
            key = differing[0]
            raise FeatureMismatch(
                f"the features of '{name}' here are of another encoder than the published ones, "
                f"though both are called '{shared.encoder}': {key} is {one.get(key)!s:.80} here "
                f"and {two.get(key)!s:.80} there; nothing was fetched. Use another --root."
            )
        return


def _leave_only(folder: Path, names: set[str]) -> None:
    """Delete what is beside the stated files: wrong ones that were set aside."""
    for path in [*folder.glob("*"), *folder.glob("text/*")]:
        below = path.relative_to(folder).as_posix()
        if below != "text" and below not in names:
            remove(path)
