"""What ``autods probe`` works on: a dataset, or a folder made into one, and whose features."""

from __future__ import annotations

import os
import re
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from autods.cli.common import open_catalogue, open_root
from autods.core.output import tell
from autods.core.registry import unknown_dataset, unknown_encoder
from autods.errors import UnknownName, UsageError

if TYPE_CHECKING:
    from autods.core.root import DataRoot
    from autods.features.sets import StoredFeatures
    from autods.manifest.catalogue import Catalogue

MODEL = "ViT-B-32"  # if nothing is named and nothing is extracted, as `extract` does


@dataclass(frozen=True)
class Wanted:
    """Whose features are wanted, and how they are extracted if they are not here.

    ``encoder`` if it was named; the others are options of ``autods extract``. A seed that is part
    of the encoder's name is still a text.
    """

    encoder: str | None
    model: str | None
    pretrained: str | None
    random_weights: int | str | None
    device: str
    quiet: bool

    def to_extract(self, name: str, root: DataRoot) -> dict[str, Any] | None:
        """Return the options of the extraction that is needed, ``None`` if features are here.

        Raises what building the encoder would, as far as that shows without work.
        """
        here = _encoders(name, root)
        if self.encoder in here or (here and self.encoder is None and self.model is None):
            return None
        if self.pretrained == "FILE":
            raise UsageError(
                f"features of '{name}' by '{self.encoder}' are not here, and its weights are a "
                f"file: name it by --model {self.model} --pretrained FILE; nothing was done."
            )
        seed = self.random_weights
        if isinstance(seed, str) and not seed.isdecimal():
            known = f" Features of '{name}' are by {', '.join(here)}." if here else ""
            raise UnknownName(
                f"--encoder {self.encoder}: expected a seed after 'random-', got '{seed}'; nothing "
                f"was done.{known}"
            )
        options = {
            "model": MODEL if self.model is None else self.model,
            "pretrained": self.pretrained,
            "random_weights": None if seed is None else int(seed),
        }
        self._check(name, here, options)
        return options

    def _check(self, name: str, here: list[str], options: dict[str, Any]) -> None:
        """Check that the encoder can be had; a name like one of features may be misspelt."""
        from autods.core.extras import require

        require("autods probe", "torch", "torchvision", "open_clip")
        from autods.encode.encoders.open_clip import check_encoder

        try:
            check_encoder(**options)
        except UnknownName as error:
            if self.encoder is None or not here:
                raise
            of_features = unknown_encoder(self.encoder, here, f"of '{name}'")
            raise UnknownName(f"{of_features} None can be extracted: {error}") from None


@dataclass(frozen=True)
class Layout:
    """How a folder is read where that is not clear: ``splits`` and ``classes`` of `autods new`."""

    splits: str | None = None
    classes: str | None = None

    def words(self) -> list[str]:
        """Return it as options of a command."""
        given = {"--splits": self.splits, "--classes": self.classes}
        return [word for key, value in given.items() if value is not None for word in (key, value)]


def wanted_features(
    encoder: str | None,
    model: str | None,
    pretrained: str | None,
    random_weights: int | None,
    device: str,
    quiet: bool,
) -> Wanted:
    """Return what the options of the command ask for; `UsageError` if they contradict."""
    from autods.features.encoder_names import encoder_options

    if encoder is not None and (model, pretrained, random_weights) != (None, None, None):
        raise UsageError("expected --encoder or --model and its options, got both.")
    if encoder is None and model is None and (pretrained, random_weights) != (None, None):
        raise UsageError("--pretrained and --random-weights go with --model; nothing was done.")
    if encoder is None:
        return Wanted(None, model, pretrained, random_weights, device, quiet)
    named = {"pretrained": None, "random_weights": None, **encoder_options(encoder)}
    return Wanted(encoder, **named, device=device, quiet=quiet)


@contextmanager
def prepared(
    what: str,
    root: Path | None,
    manifests: list[Path] | None,
    wanted: Wanted,
    layout: Layout = Layout(),
) -> Iterator[tuple[str, DataRoot, Catalogue]]:
    """Yield the dataset that is meant, its root and its catalogue; of a folder, make them."""
    data_root = open_root(root)
    catalogue = open_catalogue(manifests, data_root)
    here = {*data_root.datasets(), *(name for _, name in data_root.feature_sets())}
    folder = Path(what).expanduser()
    if what in here or (what in catalogue.datasets() and not folder.is_dir()):
        if layout.words():
            raise UsageError(
                f"--splits and --classes go with a folder, and '{what}' is a dataset; nothing was "
                "done. Its manifest says what its splits and classes are."
            )
        yield what, data_root, catalogue
    elif not folder.is_dir() and (os.sep in what or folder.exists()):
        raise UsageError(
            f"{what}: expected the name of a dataset or a folder of images; nothing was done."
        )
    elif not folder.is_dir():
        raise unknown_dataset("dataset or folder", what, {*catalogue.datasets(), *here})
    elif root is not None:
        yield _from_folder(folder, data_root, wanted, layout)
    else:
        with tempfile.TemporaryDirectory(prefix="autods-probe-") as temporary:
            made = _from_folder(folder, open_root(Path(temporary)), wanted, layout)
            if not wanted.quiet:
                tell(
                    "The index and the features are temporary; --root FOLDER keeps them.",
                    sys.stderr,
                )
            yield made


def _from_folder(
    folder: Path, root: DataRoot, wanted: Wanted, layout: Layout
) -> tuple[str, DataRoot, Catalogue]:
    """Make a dataset of a folder under a root, unless it is there; the folder may not change.

    No image is hashed or copied before it is known that the encoder can be had.
    """
    from autods import verbs
    from autods.core.files import hash_tree
    from autods.manifest.catalogue import Catalogue
    from autods.manifest.new.folder import check_folder, manifest_from_folder

    name = re.sub(r"[^a-z0-9_-]+", "-", folder.resolve().name.lower()).strip("-_") or "images"
    if name in Catalogue().datasets():
        name = f"my-{name}"
    home = root.path / "manifests"
    known = (home / f"{name}.yaml").exists()
    if not known:
        check_folder(folder, layout.splits, layout.classes)
    elif layout.words():
        raise UsageError(
            f"{folder} was probed under {root.path} as '{name}', and is read as it was then; "
            f"nothing was done. Leave out {' '.join(layout.words())}, or name another --root."
        )
    wanted.to_extract(name, root)
    if not known:
        _, remarks = manifest_from_folder(
            name, folder, home, splits=layout.splits, classes=layout.classes
        )
        if not wanted.quiet:  # without what `fetch` does, and the next command
            tell("\n".join(remarks[:-2]), sys.stderr)
    catalogue = Catalogue([home], root)
    manifest = catalogue.dataset(name)
    if manifest.files[0].checksum != f"tree:{hash_tree(folder)}":
        raise UsageError(
            f"{folder} is not what was probed under {root.path} as '{name}': its images changed, "
            f"or it is another folder of this name. Name another --root, or delete "
            f"{home / f'{name}.yaml'} and {root.dataset(name)}."
        )
    verbs.fetch(name, root, catalogue=catalogue, quiet=wanted.quiet)
    return name, root, catalogue


def features_of(
    name: str, root: DataRoot, catalogue: Catalogue, wanted: Wanted
) -> list[StoredFeatures]:
    """Return the features that are wanted; extract them if they are not here."""
    from autods import verbs
    from autods.features.sets import open_features

    here = _encoders(name, root)
    asked = wanted.encoder or wanted.model
    if asked is not None and asked not in here and name not in catalogue.datasets():
        raise unknown_encoder(asked, here, f"of '{name}'")  # imported: no images to extract from
    if (options := wanted.to_extract(name, root)) is None:
        encoders = here if wanted.encoder is None else [wanted.encoder]
        return [open_features(root, encoder, name) for encoder in encoders]
    if not wanted.quiet:
        told = wanted.encoder or options["model"]
        tell(f"Extracting the features of {name} by {told}.", sys.stderr)
    outcomes = verbs.extract(
        name, root, catalogue=catalogue, device=wanted.device, quiet=wanted.quiet, **options
    )
    return [open_features(root, outcomes[name].encoder, name)]


def _encoders(name: str, root: DataRoot) -> list[str]:
    """Return the encoders that have features of a dataset."""
    return [encoder for encoder, dataset in root.feature_sets() if dataset == name]
