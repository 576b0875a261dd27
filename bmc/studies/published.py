"""The published experiment: its streams, methods, hyper-parameters and figures.

Settings are those of the published run as configured; where ours must differ, or the sources say
nothing, `DIFFERENCES` says so beside every result.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

from autods.core.registry import unknown
from autods.core.root import DataRoot
from autods.errors import FeaturesMissing
from bmc.config import Config, Overrides


class Figures(NamedTuple):
    """Published figures of one method; ``None`` where the sources give none."""

    class_il: float | None = None  # final mean accuracy, a fraction
    cost_accuracy: float | None = None  # accuracy per total cost, in a unit not published
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

# Every method of the published comparison has its entry, whether it has settings of its own or not.
METHODS: Overrides = {
    "agem": {},
    "agem-r": {},
    "bmc": {
        "alpha": 1.0,
        "beta": 1.0,
        "consolidation_epochs": 100,
        "consolidation_batch": 64,
        "consolidation_rate": 0.01,
    },
    "der": {"alpha": 0.5, "matched": "all"},
    "derpp": {"alpha": 0.5, "beta": 1.0, "matched": "all"},
    "dmc": {"distillation_epochs": 10, "distillation_rate": 0.05},
    "er": {},
    "er-ace": {},
    "ewc": {"lam": 0.7, "gamma": 1.0},
    "fdr": {"alpha": 1.0},
    "finetune": {"restart": True},
    "gdumb": {"memory_epochs": 256, "rate": 0.05, "last_rate": 0.0005},
    "gem": {"margin": 0.5},
    "gss": {"samples": 10},
    "hal": {"lam": 0.1, "beta": 0.5, "gamma": 0.1},
    "icarl": {},
    "joint": {"passes": 1},
    "lwf": {"alpha": 0.5, "temperature": 2.0},
    "mas": {"lam": 0.7, "gamma": 1.0},
    "si": {"c": 0.5, "xi": 1.0},
}
SHARED: dict[str, Any] = {
    "epochs": 20,
    "batch_size": 64,
    "learning_rate": 0.01,
    "hidden": 128,
    "inner": 128,
    "width": 256,
    "dropout": 0.3,
    "memory": 10_000,
    "replay_batch": 64,
    "outputs": "all",  # classes not met yet compete, in training and prediction
}


class Difference(NamedTuple):
    """One thing that is not as published; ``methods`` it concerns, all of them if none is named."""

    text: str
    methods: tuple[str, ...] = ()


DIFFERENCES = (
    Difference(
        "The learning rate stays as it is. The published run lowers it on a plateau (threshold "
        "1e-4, patience 10) and ends early by the loss on its test samples, which are not looked "
        "at here."
    ),
    Difference(
        "A tenth of the published training samples is held out for development, and not trained on."
    ),
    Difference(
        "Features are float16, of length 10 in every row. The sources do not say how the "
        "published run scales them."
    ),
    Difference("Weight decay is 0.01; the sources give none."),
    Difference(
        "Accuracy per cost is in per cent per MB sent, broadcast and kept. The unit of the "
        "published figure is not published, so the two cannot be compared."
    ),
    Difference(
        "Relative time is learning time on one device, where experts train together. How many "
        "devices are behind the published figure is not said."
    ),
    Difference(
        "Methods follow their papers and not the published code; the description of each says "
        "where a stream of many tasks with one head forces a choice."
    ),
    Difference(
        "BMC follows its paper's equations. In the published code the stability loss and the "
        "distillation of features are commented out, and the first task is consolidated alone.",
        ("bmc",),
    ),
    Difference(
        "Group size, buffer and weight of the stability loss are the defaults of this program: "
        "the sources give no values.",
        ("bmc",),
    ),
    Difference(
        "Consolidation draws from all of memory and buffers. The published run mixes samples "
        "(mixup from [0.6, 1]) and holds out 20 % of them.",
        ("bmc",),
    ),
    Difference("Trained by AdamW; the published rates are those of SGD.", ("gdumb",)),
    Difference("Trained by AdamW; the sources do not name the optimiser of its rate.", ("dmc",)),
    Difference("At most 10 former tasks constrain an update, drawn anew for each.", ("gem",)),
)


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


def published_config(method: str, seed: int = 0) -> Config:
    """Return the published hyper-parameters of a method."""
    from bmc.methods import config_for

    return config_for(method, replace(Config(), **SHARED, seed=seed), METHODS)


def differences(methods: Iterable[str]) -> list[str]:
    """Return what is not as published, as far as it concerns these methods."""
    asked = set(methods)
    return [
        f"{', '.join(d.methods)}: {d.text}" if d.methods else d.text
        for d in DIFFERENCES
        if not d.methods or asked & set(d.methods)
    ]


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
    place = f"--root {root.path}"
    if experiment.published and encoder == experiment.encoder:
        return (
            f"  autods fetch --features {experiment.name} {place}\n"
            "or, where the archive is here already, with\n"
            f"  autods import-features stream_feats.tar {place}"
        )
    model, _, tag = encoder.partition(".")
    options = f"--model {model}" + (f" --pretrained {tag}" if tag else "")
    names = " ".join(missing)
    return f"  autods fetch {names} {place}\n  autods extract {names} {options} {place}"
