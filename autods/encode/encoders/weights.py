"""Which weights are meant: a published tag, a checkpoint file or random ones.

Decided before anything is downloaded or built. Getting and loading them is the business
of `checkpoints`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import open_clip
from open_clip import pretrained as hub

from autods.core.files import hash_file
from autods.core.progress import Progress
from autods.core.registry import unknown
from autods.errors import EncoderError, UnknownName, UsageError

QUICK = "-quickgelu"  # suffix of the open_clip models that are built with QuickGELU
CHECKPOINTS = (".safetensors", ".bin", ".pt", ".pth", ".ckpt")
NEXT_STEP = (
    "Name a checkpoint file with --pretrained FILE, or try the pipeline out with "
    "--random-weights SEED."
)

# Models with several fitting tags for which one is the usual choice.
DEFAULT_TAGS = {
    "ViT-B-32": "laion2b_s34b_b79k",
    "ViT-B-16": "laion2b_s34b_b88k",
    "ViT-L-14": "laion2b_s32b_b82k",
    "ViT-H-14": "laion2b_s32b_b79k",
    "ViT-g-14": "laion2b_s34b_b88k",
}


@dataclass(frozen=True)
class Weights:
    """A decision: which weights go into which model.

    ``source`` is the configuration of a published tag; file and seed are ``None`` then.
    """

    model: str
    label: str  # in the encoder's name: a tag, ``file-<8 hex digits>`` or ``random-<seed>``
    source: Mapping[str, Any] = field(default_factory=dict)
    file: Path | None = None
    seed: int | None = None


def choose_weights(model: str, pretrained: str | None, random_weights: int | None) -> Weights:
    """Decide on the weights of a model; nothing is downloaded or built.

    Without ``pretrained`` the tag is that of `DEFAULT_TAGS`, else the only published
    tag that fits the model's activation, else ``openai`` if it fits, else an error: `UnknownName`
    for a model or tag that open_clip does not know, `UsageError` for both a checkpoint and random
    weights, `EncoderError` when no tag is unambiguous, a file is absent, or QuickGELU does not fit.
    """
    if model not in open_clip.list_models():
        error = unknown("encoder", model, open_clip.list_models())
        from timm import is_model

        if is_model(model):
            raise UnknownName(f"{error}; timm has '{model}': name it timm:{model}.")
        raise error
    check_seed(random_weights, pretrained)
    if random_weights is not None:
        return Weights(model, f"random-{random_weights}", seed=random_weights)
    tag = pretrained or default_tag(model)
    if source := hub.get_pretrained_cfg(model, tag):
        if needs_quick_gelu(source) != has_quick_gelu(model):
            raise _quick_gelu_mismatch(model, tag, needs_quick_gelu(source))
        tags = hub.list_pretrained_tags_by_model(model)
        label = next(t for t in tags if hub.get_pretrained_cfg(model, t) is source)
        return Weights(model, label, source=source)
    if Path(tag).is_file():
        return Weights(model, f"file-{hash_file(Path(tag), 'sha256')[:8]}", file=Path(tag))
    raise _unknown_tag(model, tag)


def check_seed(random_weights: int | None, pretrained: str | None) -> None:
    """Raise `UsageError` for a seed beside a checkpoint, and for one out of range."""
    if random_weights is None:
        return
    if pretrained is not None:
        raise UsageError(
            f"expected --pretrained or --random-weights, got both ('{pretrained}' and "
            f"{random_weights}); nothing was done. Leave one of them out."
        )
    if not 0 <= random_weights < 2**63:
        raise UsageError(f"--random-weights: expected a seed from 0 on, got {random_weights}")


def has_quick_gelu(model: str) -> bool:
    """Tell whether open_clip builds the model with QuickGELU."""
    return bool((open_clip.get_model_config(model) or {}).get("quick_gelu", False))


def needs_quick_gelu(source: Mapping[str, Any]) -> bool:
    """Tell whether published weights were trained with QuickGELU."""
    return bool(source.get("quick_gelu", False))


def fitting_tags(model: str) -> list[str]:
    """List the published tags of a model whose activation is the model's, as open_clip does."""
    return [
        tag
        for tag in hub.list_pretrained_tags_by_model(model)
        if needs_quick_gelu(hub.get_pretrained_cfg(model, tag)) == has_quick_gelu(model)
    ]


def default_tag(model: str) -> str:
    """Return the tag that a model's name alone stands for; see `choose_weights`."""
    tags = fitting_tags(model)
    if (usual := DEFAULT_TAGS.get(model)) in tags:
        return str(usual)
    if len(tags) == 1:
        return tags[0]
    if "openai" in tags:
        return "openai"
    if tags:
        raise EncoderError(
            f"encoder '{model}' has {len(tags)} published weights and none is the usual one; "
            f"nothing was done. Choose with --pretrained: {', '.join(tags)}."
        )
    if published := hub.list_pretrained_tags_by_model(model):
        raise _quick_gelu_mismatch(model, published[0], not has_quick_gelu(model))
    raise EncoderError(
        f"no weights are published for encoder '{model}'; nothing was done. {NEXT_STEP}"
    )


def remark_on_file(weights: Weights, progress: Progress) -> None:
    """Note what a checkpoint file cannot tell about itself."""
    base = weights.model.removesuffix(QUICK)
    if weights.file is not None and base + QUICK in open_clip.list_models():
        other = base if weights.model != base else base + QUICK
        computes = "with" if has_quick_gelu(weights.model) else "without"
        progress.note(
            f"{weights.file.name}: a checkpoint does not say whether it was trained with "
            f"QuickGELU. {weights.model} computes {computes} it; if that is wrong for these "
            f"weights, use --model {other}."
        )


def remark_on_random(name: str, progress: Progress) -> None:
    """Warn that an encoder was never trained."""
    progress.note(
        f"NOTE: encoder {name} has RANDOM weights: it was never trained. Its features are good "
        "for trying the pipeline out and meaningless for any result to be published."
    )


def _quick_gelu_mismatch(model: str, tag: str, needed: bool) -> EncoderError:
    other = model.removesuffix(QUICK) + (QUICK if needed else "")
    usable = other != model and hub.get_pretrained_cfg(other, tag)
    cure = f"Use --model {other} --pretrained {tag}." if usable else NEXT_STEP
    return EncoderError(
        f"weights '{tag}' were trained {'with' if needed else 'without'} QuickGELU, model "
        f"'{model}' computes {'without' if needed else 'with'} it: the features would be wrong; "
        f"nothing was done. {cure}"
    )


def _unknown_tag(model: str, tag: str) -> EncoderError | UnknownName:
    base = model.removesuffix(QUICK)
    if model != base and hub.get_pretrained_cfg(base, tag):
        return _quick_gelu_mismatch(model, tag, needed=False)
    if "/" in tag or tag.endswith(CHECKPOINTS):
        return EncoderError(
            f"--pretrained: file {tag} does not exist; nothing was done. Name an existing "
            f"checkpoint, or a tag: {', '.join(fitting_tags(model)) or 'none is published'}."
        )
    return unknown(f"pretrained tag of {model}", tag, fitting_tags(model))
