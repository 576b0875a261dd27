"""Resolve what a user asks for: names, defaults and refusals, in one place for everyone.

`open_stream`, the table of ``autods stream show`` and both command lines start here.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path

from autods.core.registry import unknown, unknown_dataset, unknown_encoder
from autods.core.root import DataRoot
from autods.errors import AutodsError, FeaturesMissing, UsageError
from autods.features.sets import features_missing, list_encoders
from autods.manifest.catalogue import Catalogue
from autods.manifest.schema import PROTOCOLS, StreamItem, StreamSpec
from autods.manifest.stream import SyntheticData
from autods.streams.feature_set import NORMALISATIONS
from autods.streams.stream import SCENARIOS
from autods.streams.tasks import Order

SYNTHETIC = "synthetic"


@dataclass(frozen=True)
class Request:
    """A stream as it was asked for, with every default filled in.

    The fields below the definition beat what it says. Without ``encoder``, a table can be made,
    and a generated stream.
    """

    spec: StreamSpec
    root: DataRoot
    catalogue: Catalogue
    encoder: str | None
    scenario: str
    protocol: str
    normalize: str
    order: Order
    classes_per_task: int | None
    max_tasks: int | None

    def named_encoder(self) -> str:
        """Return the encoder; raise `UsageError` if nobody named one."""
        if self.encoder is None:
            raise encoder_missing(self.spec.name, self.root)
        return self.encoder


def resolve(
    stream: str | Path | Sequence[str] | StreamSpec,
    root: DataRoot | Path | str | None = None,
    encoder: str | None = None,
    *,
    scenario: str | None = None,
    protocol: str | None = None,
    order: Order = "paper",
    normalize: str | None = None,
    catalogue: Catalogue | None = None,
    classes_per_task: int | None = None,
    max_tasks: int | None = None,
    synthetic: SyntheticData | None = None,
) -> Request:
    """Fill in every default of a request; arguments and errors as of `open_stream`."""
    for option, number in (("classes_per_task", classes_per_task), ("max_tasks", max_tasks)):
        if number is not None and number < 1:
            raise UsageError(f"{option}: expected a positive number, got {number}")
    check_names(scenario=scenario, protocol=protocol, normalisation=normalize)
    if encoder is not None and ("/" in encoder or os.sep in encoder):
        raise UsageError(
            f"encoder: expected a name such as mobilenetv2.imagenet, got the path '{encoder}'; "
            "nothing was opened. In Python it is open_stream(stream, root=..., encoder=...)."
        )
    root = DataRoot.open(root)
    catalogue = catalogue or Catalogue(root=root)
    spec = _definition(stream, root, encoder, catalogue)
    if spec.synthetic is None:
        _refuse_useless(f"stream '{spec.name}'", synthetic.model_fields_set if synthetic else ())
    else:
        given = {
            "encoder": encoder,
            "protocol paper": protocol == "paper",
            "classes_per_task": classes_per_task,
        }
        useless = [option for option, value in given.items() if value]
        _refuse_useless(f"stream '{spec.name}' is generated and", useless)
        if synthetic is not None:
            sizes = spec.synthetic.model_dump() | synthetic.model_dump(exclude_unset=True)
            spec = spec.model_copy(update={"synthetic": SyntheticData(**sizes)})
    return Request(
        spec=spec,
        root=root,
        catalogue=catalogue,
        encoder=encoder or spec.encoder,
        scenario=scenario or spec.scenario or "class-il",
        protocol=protocol or spec.protocol or "clean",
        normalize=normalize or spec.normalize or "l2",
        order=spec.order if order == "paper" else order,
        classes_per_task=spec.classes_per_task or classes_per_task,
        max_tasks=max_tasks or spec.max_tasks,
    )


def check_names(**given: str | None) -> None:
    """Raise `UnknownName` for a scenario, protocol or normalisation that does not exist."""
    known = {"scenario": SCENARIOS, "protocol": PROTOCOLS, "normalisation": NORMALISATIONS}
    for kind, name in given.items():
        if name is not None and name not in known[kind]:
            raise unknown(kind, name, known[kind])


def _definition(
    stream: str | Path | Sequence[str] | StreamSpec,
    root: DataRoot,
    encoder: str | None,
    catalogue: Catalogue,
) -> StreamSpec:
    """Return the definition that a name, a pattern, a YAML file or a definition stands for."""
    if isinstance(stream, StreamSpec):
        return stream
    name = str(stream) if isinstance(stream, str | Path) else ",".join(stream)
    if name in catalogue.streams() or name.endswith((".yaml", ".yml")):
        return catalogue.stream(name)
    if name == SYNTHETIC:
        from autods.streams.synthetic_features import published_shape

        items = [StreamItem(dataset=dataset.name) for dataset in published_shape().datasets]
        return StreamSpec(name=SYNTHETIC, synthetic=SyntheticData(), datasets=items)
    datasets = _datasets(name, root, encoder, catalogue)
    return StreamSpec(
        name=name,
        title=f"Datasets {', '.join(datasets)}",
        datasets=[StreamItem(dataset=dataset) for dataset in datasets],
    )


def _datasets(name: str, root: DataRoot, encoder: str | None, catalogue: Catalogue) -> list[str]:
    """Return the datasets that a pattern or comma-separated names stand for."""
    with_manifest = catalogue.datasets()
    with_features = {d for by, d in root.feature_sets() if encoder in (None, by)}
    encoders = list_encoders(root)
    if encoder is not None and encoders and not with_features and name not in with_manifest:
        raise unknown_encoder(encoder, encoders, f"under {root.path}")
    if name == "all" or any(sign in name for sign in "*?["):
        if encoder is None:
            raise encoder_missing(name, root)
        matching = sorted(d for d in with_features if name == "all" or fnmatch(d, name))
        if not matching:
            raise FeaturesMissing(
                f"no features by encoder '{encoder}' under {root.path} match '{name}'; expected "
                "at least one dataset; nothing was opened. Run `autods extract` or `autods "
                "import-features` first, or correct --root or the name of the encoder."
            )
        return matching
    datasets, known = [part.strip() for part in name.split(",")], {*with_manifest, *with_features}
    for dataset in datasets:
        if dataset not in known:
            raise not_here(dataset, root, encoder, catalogue, alone=len(datasets) == 1)
    return datasets


def not_here(
    dataset: str, root: DataRoot, encoder: str | None, catalogue: Catalogue, *, alone: bool = False
) -> AutodsError:
    """Return the error for a dataset with neither a manifest nor features by the encoder.

    ``alone``: it may have been meant as the name of a stream.
    """
    features = {name for _, name in root.feature_sets()}
    if dataset in features and encoder is not None:
        return features_missing(root, encoder, dataset)
    if dataset in features:
        return encoder_missing(dataset, root)
    known = {*catalogue.datasets(), *features}
    if alone:
        known |= {*catalogue.streams(), SYNTHETIC}
    return unknown_dataset("stream" if alone else "dataset", dataset, known, root.path)


def encoder_missing(name: str, root: DataRoot) -> UsageError:
    """Return the error for a stream whose features are wanted without the name of an encoder."""
    here = ", ".join(list_encoders(root)[:5])
    none = "none yet" if root.path.is_dir() else "none, there is no such folder"
    return UsageError(
        f"stream '{name}': expected the name of an encoder whose features are opened, got none; "
        f"nothing was opened. Give --encoder, or 'encoder' in the stream's file. Features under "
        f"{root.path} are by: {here or none}."
    )


def _refuse_useless(stream: str, given: Iterable[str]) -> None:
    """Refuse options that would have no effect on a stream, rather than ignore them."""
    if useless := ", ".join(given):
        raise UsageError(f"{stream} has no use for {useless}; nothing was opened. Leave it out.")
