"""How encoders compute: what all models of torch share, and what keeps features exact."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from autods.encode.encoders.checkpoints import hash_weights
from autods.encode.encoders.interface import Transform

PRECISIONS = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}


@dataclass(frozen=True, eq=False)
class TorchEncoder:
    """A model of torch as an encoder; a subclass says how the model is called."""

    name: str
    dim: int
    transform: Transform
    provenance: Mapping[str, Any]
    model: torch.nn.Module = field(repr=False)
    device: torch.device
    dtype: torch.dtype

    def encode(self, batch: torch.Tensor) -> npt.NDArray[np.float32]:
        """Return the features float32 [n, d] of images float32 [n, 3, h, w], not normalised."""
        return np.asarray(self.encode_on_device(batch).cpu().numpy(), dtype=np.float32)

    def encode_on_device(self, batch: torch.Tensor) -> torch.Tensor:
        """Return what `encode` does as a tensor that stays on the encoder's device.

        Images may also be rounded to the encoder's ``dtype`` already.
        """
        with exactly():
            features: torch.Tensor = self._encode(batch.to(self.device, self.dtype))  # [n, d]
            return features.float()

    def _encode(self, images: torch.Tensor) -> Any:
        return self.model(images)


def describe(net: torch.nn.Module, device: torch.device, facts: dict[str, Any]) -> dict[str, Any]:
    """Return the provenance of a float32 model with ``facts``: as plain JSON, as when read back."""
    always = {"torch": str(torch.__version__), "device": device.type}
    described = {**facts, "weights_sha256": hash_weights(net), **always}
    plain: dict[str, Any] = json.loads(json.dumps(described))
    return plain


@contextmanager
def exactly() -> Iterator[None]:
    """Compute without gradients, without TF32 and with the same algorithms every time."""
    exact = torch.backends.cudnn.flags(
        enabled=True, benchmark=False, deterministic=True, allow_tf32=False
    )
    with torch.inference_mode(), exact, _exact_products():
        yield


@contextmanager
def _exact_products() -> Iterator[None]:
    """Compute products of float32 as such, whatever this process allowed for training."""
    try:
        before = torch.get_float32_matmul_precision()
    except RuntimeError:  # allowed by torch's newer name, which this function then refuses to read
        products = torch.backends.cuda.matmul
        allowed, products.fp32_precision = products.fp32_precision, "ieee"
        try:
            yield
        finally:
            products.fp32_precision = allowed
        return
    torch.set_float32_matmul_precision("highest")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)
