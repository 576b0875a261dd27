"""Encoders: a model, its weights and its preprocessing under one name.

Here are the open_clip models and `load_encoder`, which builds any encoder; timm's models are
in `timm`. `weights` and `checkpoints` decide which weights are meant and how they are read;
`autods.encode.extract` runs an encoder over a dataset.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import open_clip
import torch
from open_clip.transform import PreprocessCfg, image_transform_v2, merge_preprocess_dict

from autods.core.devices import choose_device
from autods.core.progress import Progress, Silent
from autods.core.refusals import cause_of
from autods.core.registry import unknown
from autods.encode.encoders.checkpoints import fetch_weights, load_weights, read_state
from autods.encode.encoders.computing import PRECISIONS, TorchEncoder, describe, exactly
from autods.encode.encoders.interface import Encoder
from autods.encode.encoders.timm import PREFIX, check_timm, load_timm
from autods.encode.encoders.weights import (
    Weights,
    choose_weights,
    fitting_tags,
    has_quick_gelu,
    remark_on_file,
    remark_on_random,
)
from autods.errors import EncoderError

TEXTS = 64  # encoded at once


class OpenClipEncoder(TorchEncoder):
    """Both towers of an open_clip model. Build it with `load_encoder`."""

    def _encode(self, images: torch.Tensor) -> Any:
        # open_clip models have no common typed base with encode_image
        return self.model.encode_image(images)  # type: ignore[operator]

    def encode_text(self, texts: Sequence[str]) -> npt.NDArray[np.float32]:
        """Return the embeddings float32 [n, d] of n texts, not normalised.

        Raises `EncoderError` when the model's tokenizer cannot be had.
        """
        blocks = [np.empty((0, self.dim), np.float32)]
        for start in range(0, len(texts), TEXTS):
            tokens = self._tokenizer(list(texts[start : start + TEXTS]))  # [n, context]
            with exactly():
                # no common typed base has encode_text either
                found = self.model.encode_text(tokens.to(self.device))  # type: ignore[operator]
                blocks.append(found.float().cpu().numpy())  # [n, d]
        return np.concatenate(blocks)

    @cached_property
    def _tokenizer(self) -> Any:
        model = self.provenance["model"]
        try:
            return open_clip.get_tokenizer(model)
        except Exception as error:  # some come from the hub, through a package of their own
            cause = f"{error}".strip().splitlines() or [type(error).__name__]
            raise EncoderError(
                f"the tokenizer of encoder '{model}' cannot be had: {cause[0][:200]}; no text "
                "was encoded. Connect to the network, and install what is missing."
            ) from None


def load_encoder(
    model: str,
    pretrained: str | None = None,
    random_weights: int | None = None,
    precision: str = "fp32",
    device: str = "cpu",
    *,
    progress: Progress | None = None,
) -> Encoder:
    """Build an encoder: an `OpenClipEncoder`, which is a `TextEncoder` too, or a `TimmEncoder`.

    Parameters
    ----------
    model
        Name of an open_clip model, for example ``ViT-B-32``, or ``timm:`` and the name of a
        timm model, for example ``timm:resnet50.a1_in1k``.
    pretrained
        Published tag or checkpoint file; ``None``: the model's usual tag
        (`autods.encode.encoders.weights.choose_weights` has the rule).
    random_weights
        Seed of random weights instead of trained ones, for trying the pipeline out.
        Equal on every machine with the same version of torch; their hash is recorded.
    precision
        ``fp32``, ``fp16`` or ``bf16``, of weights and activations.
    device
        A torch device, or ``auto``: a GPU if there is one.

    Raises
    ------
    UnknownName
        For an unknown model, tag or precision; the message names the nearest.
    EncoderError
        When the weights cannot be had, do not fit, or were trained with another activation.
    """
    progress = progress or Silent()
    if precision not in PRECISIONS:
        raise unknown("precision", precision, PRECISIONS)
    place = choose_device(device)
    if model.startswith(PREFIX):
        name = model.removeprefix(PREFIX)
        return load_timm(name, pretrained, random_weights, precision, place, progress)
    weights = choose_weights(model, pretrained, random_weights)
    name = f"{model}.{weights.label}"
    if weights.seed is None:
        checkpoint = weights.file or fetch_weights(weights)
        net = _build(weights)
        load_weights(net, checkpoint, name)
        remark_on_file(weights, progress)
    else:
        net = _build(weights)
        remark_on_random(name, progress)
    preprocessing = _preprocessing(weights, net)
    facts = {
        "model": model,
        "pretrained": weights.label,
        "quick_gelu": has_quick_gelu(model),
        "preprocessing": preprocessing,
        "precision": precision,
        "open_clip": open_clip.__version__,
    }
    return OpenClipEncoder(
        name=name,
        dim=int((open_clip.get_model_config(model) or {})["embed_dim"]),
        transform=image_transform_v2(PreprocessCfg(**preprocessing), is_train=False),
        provenance=describe(net, place, facts),
        model=_placed(net, model, PRECISIONS[precision], place),
        device=place,
        dtype=PRECISIONS[precision],
    )


def check_encoder(
    model: str, pretrained: str | None = None, random_weights: int | None = None
) -> None:
    """Raise what `load_encoder` would raise for names, files and weights that cannot be had.

    For work that precedes the encoder: nothing is built, but published weights are downloaded.
    """
    if model.startswith(PREFIX):
        check_timm(model.removeprefix(PREFIX), pretrained, random_weights)
        return
    weights = choose_weights(model, pretrained, random_weights)
    if weights.file is not None:
        read_state(weights.file, open_clip.factory.load_state_dict)
    elif weights.seed is None:
        fetch_weights(weights)


def _build(weights: Weights) -> torch.nn.Module:
    """Build the model with seeded random weights, float32, on the CPU, in evaluation mode."""
    with torch.random.fork_rng(devices=[]), _quiet_open_clip():
        torch.manual_seed(weights.seed or 0)
        try:
            net = open_clip.create_model(weights.model, pretrained=None, pretrained_text=False)
        except Exception as error:  # a text tower may need packages or files that are absent
            raise EncoderError(
                f"open_clip cannot build model '{weights.model}': "
                f"{cause_of(error)}; nothing was done. Install what is "
                "missing, or choose another model."
            ) from None
    return net.eval()  # type: ignore[no-any-return]  # open_clip is untyped


def _placed(
    net: torch.nn.Module, model: str, dtype: torch.dtype, device: torch.device
) -> torch.nn.Module:
    """Move the model to its precision, as open_clip does, and to its device.

    Hashes are taken before, in float32.
    """
    vision = (open_clip.get_model_config(model) or {})["vision_cfg"]
    if dtype != torch.float32 and "timm_model_name" in vision:
        net = net.to(dtype)
        for module in net.modules():  # these layer norms compute in float32 themselves
            if isinstance(module, open_clip.transformer.LayerNormFp32):
                module.float()
    elif dtype != torch.float32:
        open_clip.model.convert_weights_to_lp(net, dtype=dtype)
        for module in net.modules():  # float32 weights on other activations, which CUDA refuses
            if type(module) is open_clip.transformer.LayerNorm:
                module.__class__ = open_clip.transformer.LayerNormFp32
            elif isinstance(module, open_clip.transformer.AttentionalPooler):  # of CoCa
                module.query.data = module.query.data.to(dtype)  # its products have this type
    return net.to(device)


def _preprocessing(weights: Weights, net: torch.nn.Module) -> dict[str, Any]:
    """Return open_clip's preprocessing as plain values: that of the tag, at the model's size.

    A checkpoint file or random weights take what the published weights of the model agree
    on, and open_clip's default if there are none or they differ.
    """
    default = asdict(PreprocessCfg())
    if weights.source:
        found = merge_preprocess_dict(default, weights.source)
    else:
        every = [
            merge_preprocess_dict(
                default, open_clip.pretrained.get_pretrained_cfg(weights.model, tag)
            )
            for tag in fitting_tags(weights.model)
        ]
        found = every[0] if every and all(one == every[0] for one in every) else default
    return {**found, "size": net.visual.image_size}  # type: ignore[union-attr]  # untyped


@contextmanager
def _quiet_open_clip() -> Iterator[None]:
    """Silence open_clip's warning about missing weights: they are loaded afterwards."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(before)
