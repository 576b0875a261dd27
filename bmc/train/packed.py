"""Statistics as they are stored: symmetric matrices once, at a precision stated beside each.

What a method counts as its bytes is what these functions return, and what it predicts with is
what they give back.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

SCALE = ".scale"  # ends the name of the scale of a packed tensor


def upper_triangle(matrix: Tensor) -> Tensor:
    """Return the rows of the upper triangle of [d, d], one after the other: [d (d + 1) / 2]."""
    d = len(matrix)
    rows = matrix.new_empty(d * (d + 1) // 2)  # no index: that takes 16 bytes a number
    end = 0
    for i in range(d):
        start, end = end, end + d - i
        rows[start:end] = matrix[i, i:]
    return rows


def from_upper_triangle(
    rows: Tensor, symmetric: bool = True, dtype: torch.dtype | None = None
) -> Tensor:
    """Return the matrix [d, d] of `upper_triangle`; below it, its mirror image or zeros."""
    d = int((2 * len(rows)) ** 0.5)
    matrix = rows.new_zeros(d, d, dtype=dtype or rows.dtype)
    end = 0
    for i in range(d):
        start, end = end, end + d - i
        matrix[i, i:] = rows[start:end]
        if symmetric:
            matrix[i:, i] = rows[start:end]
    return matrix


def without_last_byte(numbers: Tensor) -> Tensor:
    """Round float32 [n] to 16 significant bits (half to even): uint8 [n, 3], last bytes first."""
    bits = numbers.contiguous().view(torch.int32)
    bits = bits + 0x7F + ((bits >> 8) & 1)
    return torch.stack([(bits >> shift) & 0xFF for shift in (8, 16, 24)], dim=1).to(torch.uint8)


def with_last_byte(stored: Tensor) -> Tensor:
    """Return the numbers that `without_last_byte` has rounded, float32 [n]."""
    low, middle, high = stored.int().unbind(dim=1)
    return ((low << 8) | (middle << 16) | (high << 24)).view(torch.float32)


@dataclass(frozen=True)
class Packing:
    """How one tensor of a method is stored.

    Unpacking and packing again changes no bit, so a method may read its own state as often as it
    likes.

    Attributes
    ----------
    dtype
        As which numbers are stored; ``None``: as they are. In float16 they are divided by the
        largest of them, or of their class, which is stored beside them in float32: the error is
        at most 2^-11 of a number, or 2^-25 of the largest.
    working
        What they are unpacked to; ``None``: as stored.
    classes
        The dimension that counts classes; classes that are not seen yet are not stored.
    symmetric
        Whether it is a symmetric matrix, of which the upper triangle is stored.
    short
        Whether float32 numbers are stored without their last byte: 16 significant bits of 24.
    """

    dtype: torch.dtype | None = None
    working: torch.dtype | None = None
    classes: int | None = None
    symmetric: bool = False
    short: bool = False

    def pack(self, name: str, tensor: Tensor, seen: int) -> dict[str, Tensor]:
        """Return what is stored of a tensor of which ``seen`` classes are known."""
        if self.classes is not None:
            tensor = tensor.narrow(self.classes, 0, seen)
        if self.symmetric:
            tensor = upper_triangle(tensor)
        if self.short:
            return {name: without_last_byte(tensor.float())}
        if self.dtype is not torch.float16:
            return {name: tensor if self.dtype is None else tensor.to(self.dtype)}
        scale = self._largest(tensor).float()
        scale = torch.where(scale > 0, scale, 1)
        return {name: (tensor / scale.to(tensor.dtype)).half(), name + SCALE: scale}

    def _largest(self, tensor: Tensor) -> Tensor:
        """Return the largest magnitude, of each class where there are classes."""
        if self.classes is None:
            return tensor.abs().max() if tensor.numel() else tensor.new_ones(())
        others = [i for i in range(tensor.ndim) if i != self.classes]
        return tensor.abs().amax(dim=others, keepdim=True)

    def unpack(self, name: str, state: dict[str, Tensor], n_classes: int) -> Tensor:
        """Return the tensor, of zeros for classes that are not seen yet."""
        tensor = with_last_byte(state[name]) if self.short else state[name]
        working = self.working or tensor.dtype
        tensor = (
            from_upper_triangle(tensor, dtype=working) if self.symmetric else tensor.to(working)
        )
        if name + SCALE in state:
            tensor = tensor * state[name + SCALE].to(tensor)
        if self.classes is None:
            return tensor
        shape = list(tensor.shape)
        seen, shape[self.classes] = shape[self.classes], n_classes
        whole = tensor.new_zeros(shape)
        whole.narrow(self.classes, 0, seen).copy_(tensor)
        return whole


Kept = dict[str, Packing]  # the tensors of a method's state by name

AS_IS = Packing()
COUNTS = Packing(torch.int32, torch.float64, classes=0)  # [C]
MEANS = Packing(torch.float16, torch.float64, classes=0)  # [C, d], or sums
# [d, d]; a sum over tasks: in float16 the order in which it is rounded shows in predictions
COVARIANCE = Packing(torch.float32, torch.float64, symmetric=True, short=True)
GRAM = Packing(torch.float32, torch.float64, symmetric=True)  # [M, M]
TARGETS = Packing(torch.float32, torch.float64, classes=1)  # [M, C]


def rounding(matrix: Tensor, packing: Packing) -> float:
    """Return about how far storing it moves the eigenvalues of a symmetric matrix [d, d].

    Errors of entries are independent, at most half a unit in the last place of each; a random
    symmetric matrix of entries of size a has eigenvalues up to 2 a sqrt(d).
    """
    double = packing.dtype in (None, torch.float64)
    bits = 16 if packing.short else 53 if double else 24  # significant ones; none is in float16
    size: float = torch.linalg.vector_norm(matrix).item()
    return size / math.sqrt(len(matrix)) * 2.0**-bits


def to_message(tensors: Mapping[str, Tensor]) -> bytes:
    """Return tensors as one safetensors file, which is what an expert sends: its length counts."""
    from safetensors.torch import save

    return save({name: tensor.contiguous() for name, tensor in tensors.items()})


def from_message(message: bytes, device: torch.device) -> dict[str, Tensor]:
    """Return the tensors of `to_message`, on a device."""
    from safetensors.torch import load

    return {name: tensor.to(device) for name, tensor in load(message).items()}
