"""The published experiments: their streams, methods and figures.

Their settings are presets (`bmc.studies.presets`); what is not as published, whatever is set, is in
`bmc.studies.differences`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from autods.core.registry import unknown
from autods.core.root import DataRoot
from autods.core.shell import quoted
from autods.errors import FeaturesMissing


class Figures(NamedTuple):
    """Figures of one method on the published poster; ``None`` where it gives none."""

    class_il: float | None = None  # final mean accuracy, a fraction
    cost_accuracy: float | None = None  # accuracy per total cost; the poster gives no unit
    relative_time: float | None = None  # time over that of fine-tuning


NO_FIGURES = Figures()


@dataclass(frozen=True)
class Experiment:
    """A published experiment: the name of its stream, the encoder of its features, all ``tasks``.

    ``published`` features can be fetched; ``figures`` are by method.
    """

    name: str
    title: str
    stream: str
    encoder: str
    tasks: int
    published: bool = False
    figures: dict[str, Figures] = field(default_factory=dict)


METHODS = (
    "agem", "agem-r", "bmc", "der", "derpp", "dmc", "er", "er-ace", "ewc", "fdr", "finetune",
    "gdumb", "gem", "gss", "hal", "icarl", "joint", "lwf", "mas", "si",
)  # fmt: skip

EXPERIMENTS = {
    made.name: made
    for made in (
        Experiment(
            "stream-clip", "Stream, 71 datasets, published CLIP features", "stream71",
            "ViT-L-14.published-stream", 71, published=True,
            figures={"bmc": Figures(0.704, 6.27, 0.78), "er": Figures(0.414)},
        ),
        Experiment("split-cifar100", "Split CIFAR-100", "split-cifar100", "ViT-L-14.openai", 10),
        Experiment(
            "split-tinyimagenet", "Split Tiny ImageNet", "split-tinyimagenet", "ViT-L-14.openai", 10
        ),
    )
}  # fmt: skip


def experiment_of(name: str) -> Experiment:
    """Return a published experiment; raise `UnknownName` if there is none of this name."""
    if name not in EXPERIMENTS:
        raise unknown("experiment", name, EXPERIMENTS)
    return EXPERIMENTS[name]


def published_methods(text: str) -> list[str]:
    """Return the published methods that a comma-separated list names, or ``all`` of them.

    Raises `UnknownName` for a method that is not one of the published comparison.
    """
    names = list(METHODS) if text == "all" else [part for part in text.split(",") if part]
    for name in names:
        if name not in METHODS:
            raise unknown("published method", name, METHODS)
    return list(dict.fromkeys(names))


def check_features(experiment: Experiment, encoder: str, root: DataRoot) -> None:
    """Check that the features are here; `FeaturesMissing` names the commands that get them."""
    from autods.features.sets import list_features
    from autods.manifest.catalogue import Catalogue

    needed = [item.dataset for item in Catalogue().stream(experiment.stream).datasets]
    here = set(list_features(root, encoder))
    missing = [name for name in needed if name not in here]
    if not missing:
        return
    shown = ", ".join(missing[:6]) + (", ..." if len(missing) > 6 else "")
    raise FeaturesMissing(
        f"{experiment.name} needs features by '{encoder}' of {len(needed)} datasets; "
        f"{len(missing)} of them have none under {root.path}: {shown}. Nothing was run. "
        "Get them with\n" + _commands(experiment, encoder, missing, root)
    )


def _commands(experiment: Experiment, encoder: str, missing: Sequence[str], root: DataRoot) -> str:
    place = f"--root {quoted(root.path)}"
    if experiment.published and encoder == experiment.encoder:
        return (
            f"  autods fetch --features {experiment.name} {place}\n"
            "or, where the archive is here already, with\n"
            f"  autods import-features stream_feats.tar {place}"
        )
    model, _, tag = encoder.partition(".")
    options = f"--model {model}" + (f" --pretrained {tag}" if tag else "")
    names = quoted(*missing)
    return f"  autods fetch {names} {place}\n  autods extract {names} {options} {place}"
