"""timm image models as encoders: ``timm:resnet50.a1_in1k``, features before the classifier.

Preprocessing is the model's own data configuration, as timm evaluates it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import timm
import torch
from PIL import Image
from timm.data import create_transform, resolve_model_data_config
from timm.models import PretrainedCfg, get_pretrained_cfg, list_pretrained

from autods.core.files import hash_file
from autods.core.progress import Progress
from autods.core.refusals import cause_of
from autods.core.registry import unknown
from autods.encode.decode import to_rgb
from autods.encode.encoders.checkpoints import (
    cached_file,
    hub_host,
    read_state,
    resolve,
)
from autods.encode.encoders.computing import PRECISIONS, TorchEncoder, describe, exactly
from autods.encode.encoders.weights import CHECKPOINTS, NEXT_STEP, check_seed, remark_on_random
from autods.errors import EncoderError, UsageError

PREFIX = "timm:"  # of a model's name on the command line and in provenance
HUB_FILES = ("model.safetensors", "pytorch_model.bin")


@dataclass(frozen=True)
class TimmWeights:
    """A decision: which weights go into which timm model. Without file and seed, published ones."""

    model: str  # ``<architecture>.<tag>``; the architecture alone if timm has no tag
    label: str  # the tag, ``file-<8 hex digits>`` or ``random-<seed>``
    source: PretrainedCfg  # timm's configuration of the tag, with the preprocessing
    file: Path | None = None
    seed: int | None = None

    @property
    def encoder(self) -> str:
        """Name of the encoder: ``timm-<model>``, and the label unless it is the model's tag."""
        published = self.file is None and self.seed is None
        return f"timm-{self.model}" if published else f"timm-{self.model}.{self.label}"


@dataclass(frozen=True)
class TimmTransform:
    """timm's evaluation transform, of images in RGB."""

    steps: Callable[[Image.Image], torch.Tensor]

    @property
    def transforms(self) -> list[Any]:
        """The single steps, as torchvision's ``Compose`` has them."""
        return [to_rgb, *getattr(self.steps, "transforms", [self.steps])]

    def __call__(self, image: Image.Image) -> torch.Tensor:
        """Return float32 [3, h, w]."""
        return self.steps(to_rgb(image))


class TimmEncoder(TorchEncoder):
    """A timm model without its classifier: its pooled features. `load_encoder` builds it."""


def load_timm(
    name: str,
    pretrained: str | None,
    random_weights: int | None,
    precision: str,
    device: torch.device,
    progress: Progress,
) -> TimmEncoder:
    """Build an encoder, as `open_clip.load_encoder` does; ``name`` has no prefix."""
    weights = choose_timm(name, pretrained, random_weights)
    net = _build(weights)
    if weights.seed is not None:
        remark_on_random(weights.encoder, progress)
    config = resolve_model_data_config(net)
    facts = {
        "model": PREFIX + weights.model,
        "pretrained": weights.label,
        "quick_gelu": False,  # an architecture of its own in timm, so the name tells
        "preprocessing": {**config, "mode": "RGB"},
        "precision": precision,
        "timm": timm.__version__,
    }
    return TimmEncoder(
        name=weights.encoder,
        dim=_width(net, weights.model, config["input_size"]),
        transform=TimmTransform(create_transform(**config, is_training=False)),
        provenance=describe(net, device, facts),
        model=net.to(device=device, dtype=PRECISIONS[precision]),
        device=device,
        dtype=PRECISIONS[precision],
    )


def check_timm(name: str, pretrained: str | None, random_weights: int | None) -> None:
    """Raise what `load_timm` would raise for names, files and weights out of reach."""
    weights = choose_timm(name, pretrained, random_weights)
    if weights.file is not None:
        read_state(weights.file, timm.models.load_state_dict)
    elif weights.seed is None:
        _cached(weights)


def choose_timm(name: str, pretrained: str | None, random_weights: int | None) -> TimmWeights:
    """Decide on the weights of a timm model; nothing is downloaded or built.

    The name is ``<architecture>`` or ``<architecture>.<tag>``; without a tag timm's default one.
    ``pretrained`` is a tag, or a checkpoint file, which then takes the preprocessing of the
    model's tag. Raises `UnknownName` for an architecture or tag that timm does not know, and
    `UsageError` or `EncoderError` when options contradict each other, a file is absent, or
    nothing is published.
    """
    architecture, _, tag = name.partition(".")
    if architecture not in timm.list_models():
        raise unknown("timm model", name, [*timm.list_models(), *list_pretrained()])
    check_seed(random_weights, pretrained)
    file = Path(pretrained) if pretrained and Path(pretrained).is_file() else None
    if pretrained and file is None:
        if "/" in pretrained or pretrained.endswith(CHECKPOINTS):
            raise EncoderError(
                f"--pretrained: file {pretrained} does not exist; nothing was done. Name an "
                "existing checkpoint, or a tag."
            )
        if tag not in ("", pretrained):
            raise UsageError(
                f"expected one tag, got --model {PREFIX}{name} and --pretrained {pretrained}; "
                "nothing was done. Leave one of them out."
            )
        tag = pretrained
    tags = [known.partition(".")[2] for known in list_pretrained(f"{architecture}.*")]
    if tag and tag not in tags:
        raise unknown(f"pretrained tag of timm model {architecture}", tag, tags)
    source = get_pretrained_cfg(f"{architecture}.{tag}" if tag else architecture)
    model = f"{architecture}.{source.tag}" if source.tag in tags else architecture
    if file is not None:
        return TimmWeights(model, f"file-{hash_file(file, 'sha256')[:8]}", source, file=file)
    if random_weights is not None:
        return TimmWeights(model, f"random-{random_weights}", source, seed=random_weights)
    if not source.has_weights:
        raise EncoderError(
            f"no weights are published for timm model '{model}'; nothing was done. {NEXT_STEP}"
        )
    return TimmWeights(model, source.tag, source)


def _build(weights: TimmWeights) -> torch.nn.Module:
    """Build the model with its weights and without classifier, float32, on the CPU."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(weights.seed or 0)
        if weights.file is not None:
            net = _from_file(weights, weights.file)
        elif weights.seed is not None:
            net = timm.create_model(weights.model)
        else:
            net = _published(weights)
    net.reset_classifier(0)
    return net.eval()  # type: ignore[no-any-return]  # timm is untyped


def _published(weights: TimmWeights) -> Any:
    """Let timm load published weights, from the local cache without asking the network."""
    cached = _cached(weights)
    overlay = {"file": str(cached)} if cached else {}
    try:
        return timm.create_model(weights.model, pretrained=True, pretrained_cfg_overlay=overlay)
    except Exception as error:  # the hub client raises errors of many libraries
        raise _out_of_reach(weights, error, cached) from None


def _cached(weights: TimmWeights) -> Path | None:
    """Return the file of published weights in the hub's cache, ``None`` if timm downloads them.

    Raises `EncoderError` if it could not.
    """
    source = weights.source
    try:
        if source.hf_hub_id:
            if cached := cached_file(source.hf_hub_id, HUB_FILES):
                return cached
            resolve(hub_host())
        elif not Path(torch.hub.get_dir(), "checkpoints", Path(source.url).name).is_file():
            resolve(urlsplit(source.url).hostname or "")
    except OSError as error:
        raise _out_of_reach(weights, error) from None
    return None


def _out_of_reach(
    weights: TimmWeights, error: Exception, cached: Path | None = None
) -> EncoderError:
    return EncoderError(
        f"weights of encoder '{weights.encoder}' could not be had from "
        f"{cached or weights.source.hf_hub_id or weights.source.url}: {cause_of(error)}; nothing "
        f"was done. Connect to the network and run the same command again. {NEXT_STEP}"
    )


def _from_file(weights: TimmWeights, path: Path) -> Any:
    """Load a checkpoint file, whatever the number of classes it was trained for."""
    state = read_state(path, timm.models.load_state_dict)
    heads = weights.source.classifier or ()
    heads = (heads,) if isinstance(heads, str) else heads
    sizes = [len(state[key]) for head in heads if (key := f"{head}.weight") in state]
    classes = max(sizes, default=0)  # none: a checkpoint of the features alone
    # With as many classes as the file has, timm insists that every key finds its place.
    overlay = {"state_dict": dict(state), "num_classes": classes, "label_offset": 0}
    wrong = []
    try:
        net = timm.create_model(
            weights.model, pretrained=True, pretrained_cfg_overlay=overlay, num_classes=classes
        )
        own = net.state_dict()
        wrong = [  # timm would interpolate the positions of another image size
            f"{key} is {list(state[key].shape)} instead of {list(own[key].shape)}"
            for key in sorted(own.keys() & state.keys())
            if own[key].shape != state[key].shape
        ]
    except (RuntimeError, KeyError, ValueError, AttributeError, TypeError) as error:
        wrong = [" ".join(f"{error}".split())[:300]]
    if wrong:
        raise EncoderError(
            f"{path} does not fit encoder '{weights.encoder}': {'; '.join(wrong[:3])}; nothing "
            "was done. Name the model that these weights were trained as with --model."
        )
    return net


def _width(net: torch.nn.Module, model: str, size: tuple[int, int, int]) -> int:
    """Return the width of the features, found by encoding an empty image."""
    with exactly():
        features = net(torch.zeros(1, *size))
    if not isinstance(features, torch.Tensor) or features.ndim != 2:
        raise EncoderError(
            f"timm model '{model}' gives no pooled features: expected [n, d], got "
            f"{list(getattr(features, 'shape', ())) or type(features).__name__}; nothing was "
            "done. Choose another model."
        )
    return int(features.shape[1])
