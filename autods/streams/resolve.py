"""What a user names as a stream, as a definition; and the one that is generated."""

from __future__ import annotations

from dataclasses import replace
from fnmatch import fnmatch
from typing import Any

from autods.core.registry import unknown
from autods.core.root import DataRoot
from autods.errors import FeaturesMissing, UsageError
from autods.features.sets import list_encoders, list_features
from autods.manifest.catalogue import Catalogue
from autods.manifest.schema import StreamItem, StreamSpec
from autods.manifest.stream import SyntheticData
from autods.streams.stream import Stream
from autods.streams.tasks import Order

SYNTHETIC = "synthetic"


def defined(name_or_spec: str | StreamSpec, catalogue: Catalogue) -> StreamSpec | None:
    """Return the definition that a name, a YAML file or a definition stands for.

    ``None`` where it depends on the features that are there: names of datasets, patterns.

    Raises
    ------
    ManifestError
        When a file is not a stream's definition.
    """
    if isinstance(name_or_spec, StreamSpec):
        return name_or_spec
    if name_or_spec in catalogue.streams() or name_or_spec.endswith((".yaml", ".yml")):
        return catalogue.stream(name_or_spec)
    if name_or_spec == SYNTHETIC:
        from autods.streams.synthetic_features import published_shape

        items = [StreamItem(dataset=dataset.name) for dataset in published_shape().datasets]
        return StreamSpec(name=SYNTHETIC, synthetic=SyntheticData(), datasets=items)
    return None


def generate(
    spec: StreamSpec,
    scenario: str | None,
    order: Order,
    normalize: str | None,
    max_tasks: int | None,
) -> Stream:
    """Generate a synthetic stream as its definition says; see `autods.streams.synthetic`."""
    from autods.streams.synthetic import synthetic_stream
    from autods.streams.synthetic_features import published_shape
    from autods.streams.tasks import ordered

    names = [item.dataset for item in spec.datasets]
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise UsageError(f"task '{twice}' stands twice in the stream; nothing was generated.")
    wanted = spec.order if order == "paper" else order
    places = ordered(names, names, wanted)
    chosen = [names[place] for place in places][: max_tasks or spec.max_tasks]
    published = [dataset.name for dataset in published_shape().datasets]
    rest = [name for name in published if name not in chosen]
    given: dict[str, Any] = spec.synthetic.model_dump(exclude_none=True) if spec.synthetic else {}
    stream = synthetic_stream(
        **given,
        tasks=len(chosen),
        order=[*chosen, *rest],
        scenario=scenario or spec.scenario or "class-il",
        normalize=normalize or spec.normalize or "l2",
    )
    seed = wanted if isinstance(wanted, int) else None
    return replace(stream, name=spec.name, provenance={**stream.provenance, "order_seed": seed})


def refuse_for_synthetic(
    spec: StreamSpec, encoder: str | None, protocol: str | None, classes_per_task: int | None
) -> None:
    """Raise `UsageError` for what a generated stream has no use for, rather than ignore it."""
    given = {
        "encoder": encoder,
        "protocol paper": protocol == "paper",
        "classes_per_task": classes_per_task,
    }
    if useless := [name for name, value in given.items() if value]:
        raise UsageError(
            f"stream '{spec.name}' is generated and has no use for {', '.join(useless)}; nothing "
            "was opened. Leave it out."
        )


def needs_encoder(name: str, root: DataRoot) -> UsageError:
    """Build the error for a stream that is to be opened without the name of an encoder."""
    here = ", ".join(list_encoders(root)[:5])
    return UsageError(
        f"stream '{name}': expected the name of an encoder whose features are opened, got none; "
        f"nothing was opened. Give --encoder, or 'encoder' in the stream's file. Features under "
        f"{root.path} are by: {here or 'none yet'}."
    )


def resolve(
    name_or_spec: str | StreamSpec, root: DataRoot, encoder: str, catalogue: Catalogue | None = None
) -> StreamSpec:
    """Turn what a user names into a stream definition; see `autods.streams.stream.Stream.open`."""
    catalogue = catalogue or Catalogue()
    if (spec := defined(name_or_spec, catalogue)) is not None:
        return spec
    name = str(name_or_spec)
    stored = list_features(root, encoder)
    encoders = list_encoders(root)
    if not stored and encoders and name not in catalogue.datasets():
        raise unknown("encoder with features under the root", encoder, encoders)
    if name == "all" or any(sign in name for sign in "*?["):
        parts = [known for known in stored if fnmatch(known, "*" if name == "all" else name)]
        if not parts:
            raise FeaturesMissing(
                f"no features by encoder '{encoder}' under {root.path} match '{name}'; expected "
                "at least one dataset. Run `autods extract` or `autods import-features` first, "
                "or correct --root or the name of the encoder."
            )
    else:
        parts = [part.strip() for part in name.split(",")]
        known_names = {*catalogue.datasets(), *stored}
        if len(parts) == 1 and parts[0] not in known_names:
            raise unknown("stream", name, {*known_names, *catalogue.streams()})
        for part in parts:
            if part not in known_names:
                raise unknown("dataset", part, known_names)
    return StreamSpec(
        name=name,
        title=f"Datasets {', '.join(parts)}",
        datasets=[StreamItem(dataset=part) for part in parts],
    )
