"""What the groups of commands of ``autods`` share: options, and how datasets are chosen."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Callable, Collection, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from autods.cli import complete
from autods.core.output import tell
from autods.core.registry import unknown_encoder
from autods.errors import AutodsError, UsageError

if TYPE_CHECKING:
    from autods.core.progress import Board
    from autods.core.root import DataRoot
    from autods.manifest.catalogue import Catalogue
    from autods.manifest.select import Selection

Names = Annotated[
    list[str] | None,
    typer.Argument(help="Names of datasets, or globs: 'omni*'.", autocompletion=complete.datasets),
]
Stream = Annotated[
    str | None,
    typer.Option(help="Every dataset of this stream.", autocompletion=complete.streams),
]
Exclude = Annotated[
    list[str] | None,
    typer.Option(
        metavar="NAME,..",
        help="Leave these out; globs; can be repeated.",
        autocompletion=complete.datasets,
    ),
]
MaxSize = Annotated[
    str | None, typer.Option(metavar="SIZE", help="Leave out datasets with larger files: 50GB.")
]
Access = Annotated[
    str | None,
    typer.Option(metavar="KIND,..", help="Only open, kaggle, kaggle-competition or form."),
]
Root = Annotated[
    Path | None, typer.Option(help="Data root; default AUTODS_ROOT, else the user's data folder.")
]
Manifests = Annotated[
    list[Path] | None,
    typer.Option(metavar="DIR", help="Further folder of manifests; can be repeated."),
]
All = Annotated[bool, typer.Option("--all", help="Every dataset that has a manifest.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON for programs.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Show no progress, no next step.")]
Model = Annotated[str, typer.Option(help="An open_clip model, or timm:NAME.")]
Pretrained = Annotated[
    str | None, typer.Option(help="Tag of published weights, or a checkpoint file.")
]
RandomWeights = Annotated[
    int | None, typer.Option(help="Seed of random weights, to try the pipeline out.")
]
Precision = Annotated[str, typer.Option(help="fp32, fp16 or bf16.")]


PAGES = (".html", ".htm")  # endings of reports that are pages


def check_report(
    report: Path | None, option: str = "--report", endings: Collection[str] = ()
) -> None:
    """Refuse a place where no file can be written, and pages without jinja2, before any work.

    ``endings`` are those that the name may have, if not any.
    """
    from autods.core.extras import require

    if report is None:
        return
    if why := "it is a folder" if report.is_dir() else _no_place(report.absolute().parent):
        raise UsageError(
            f"{option} {report}: expected a place for a file, but {why}; nothing was done. "
            "Name another file."
        )
    if endings and report.suffix.lower() not in endings:
        usual = " or ".join(one for one in endings if one != ".htm")
        raise UsageError(
            f"{option} {report}: expected a name that ends in {usual}; nothing was done. Name "
            "another file."
        )
    if report.suffix.lower() in PAGES:
        require(f"{option} FILE.html", "jinja2")


def check_folder(folder: Path | None, option: str = "--out") -> None:
    """Refuse a place where no folder can be made or written to, before any work."""
    if folder is not None and (why := _no_place(folder.expanduser().absolute())):
        raise UsageError(
            f"{option} {folder}: expected a folder to write to, but {why}; nothing was done. "
            "Name another one."
        )


def _no_place(folder: Path) -> str | None:
    """Say why nothing can be written in a folder, which need not exist; ``None``: it can."""
    around = next(one for one in (folder, *folder.parents) if one.exists())
    if not around.is_dir():
        return f"{around} is a file"
    return None if os.access(around, os.W_OK) else f"you may not write to {around}"


def say_written(files: Iterable[Path]) -> None:
    """Print which pages and pictures a command wrote, one a line."""
    for file in files:
        print(f"{'Page' if file.suffix.lower() in PAGES else 'Picture'}: {file}")


def command_line() -> str:
    """Return the command that was typed, as a page repeats it."""
    return shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]])


def open_root(path: Path | None) -> DataRoot:
    """Return the data root at ``--root``, or the default one."""
    from autods.core.root import DataRoot

    return DataRoot.open(path)


def open_catalogue(folders: list[Path] | None, root: DataRoot | None = None) -> Catalogue:
    """Return the shipped manifests, those a root remembers, and those of ``--manifests``.

    Remembered folders that no longer exist are reported on standard error.
    """
    from autods.manifest.catalogue import Catalogue

    catalogue = Catalogue(folders or (), root)
    for folder, names in catalogue.gone.items():
        tell(
            f"The manifests of {', '.join(names)} are gone: this root remembers {folder}, which "
            "has none of them. Name the folder they are in now with --manifests; index or fetch "
            "makes the root remember it.",
            sys.stderr,
        )
    return catalogue


def chosen(
    selection: Selection, catalogue: Catalogue, here: Callable[[], Collection[str]] | None = None
) -> list[str]:
    """Return the datasets of a selection; tell on standard error what it leaves out.

    ``here`` as of `autods.manifest.select.select`.
    """
    from autods.manifest.select import select

    found = select(selection, catalogue, here)
    for option, names in found.left_out.items():
        tell(f"Left out by {option}: {', '.join(names)}.", sys.stderr)
    if found.unsized:
        kept = ", ".join(found.unsized)
        tell(f"Kept, though the size of some files is unknown: {kept}.", sys.stderr)
    return found.names


def chosen_here(
    selection: Selection, catalogue: Catalogue, root: DataRoot
) -> tuple[list[str], list[str]]:
    """Return the datasets of a command that works on what is fetched already.

    Those of --all or --stream of which nothing is here come second.
    """
    from autods.checks.inventory import fetched

    found = chosen(selection, catalogue, lambda: fetched(catalogue, root))
    if not found:
        raise UsageError("no dataset is fetched under this root; start with `autods fetch NAME`.")
    wide = len(found) > 1 and (selection.everything or selection.stream)
    absent = [name for name in found if wide and _untouched(root, name)]
    if len(absent) == len(found):
        raise AutodsError(
            f"none of the {len(found)} datasets is fetched under {root.path}; nothing was done. "
            "Run `autods fetch` with the same choice first."
        )
    return [name for name in found if name not in absent], absent


def _untouched(root: DataRoot, name: str) -> bool:
    archives = root.dataset(name) / "archives"
    begun = archives.is_dir() and any(archives.iterdir())
    return not begun and not root.record(name).is_file()


def each(
    names: list[str],
    action: Callable[[str], object],
    then: Callable[[], None] | None = None,
    board: Board | None = None,
    absent: Sequence[str] = (),
) -> None:
    """Do something with each dataset; one that fails does not stop the others.

    ``then`` runs at the end, before the failures are raised as one error; ``board`` counts what
    has ended. ``absent`` datasets were asked for, too: one line names them.
    """
    failed: dict[str, AutodsError] = {}
    for name in names:
        try:
            action(name)
        except AutodsError as error:
            failed[name] = error
            if len(names) > 1:
                tell(f"error: {name}: {error}", sys.stderr)
        if board is not None:
            board.ended()
    if board is not None:
        board.close()
    if then is not None:
        then()
    missing = f"nothing is here of: {', '.join(absent)}; `autods fetch` brings them."
    if not failed:
        if absent:
            raise AutodsError(missing)
        return
    if absent:
        print(f"error: {missing}", file=sys.stderr)
    text = f"{len(failed)} of {len(names)} datasets failed: {', '.join(failed)}"
    if len(names) == 1:
        text = f"{names[0]}: {failed[names[0]]}"
    wrong_usage = all(isinstance(error, UsageError) for error in failed.values())
    raise UsageError(text) if wrong_usage else AutodsError(text)


def one_encoder(
    what: str, names: Sequence[str], encoder: str | None, root: DataRoot, done: str
) -> str:
    """Return the encoder that is asked for, or the only one that has features of these datasets.

    Errors call the datasets ``what`` and say that nothing was ``done``.
    """
    here = sorted({one for one, dataset in root.feature_sets() if dataset in names})
    if encoder is not None and encoder not in here:
        raise unknown_encoder(encoder, here, f"of '{what}'")
    if encoder is None and len(here) != 1:
        first = names[0] if names else "NAME"
        step = f"name one: --encoder {here[0]}" if here else f"run autods extract {first}"
        raise UsageError(
            f"expected features of '{what}' by one encoder, got {', '.join(here) or 'none'}; "
            f"nothing was {done}. Instead {step}."
        )
    return encoder or here[0]
