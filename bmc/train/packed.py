"""Statistics as they are stored: symmetric matrices once, at a precision stated beside each.

What a method counts as its bytes is what these functions return, and what it predicts with is
what they give back.
"""

from __future__ import annotations

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


def from_upper_triangle(rows: Tensor, symmetric: bool = True) -> Tensor:
    """Return the matrix [d, d] of `upper_triangle`; below it, its mirror image or zeros."""
    d = int((2 * len(rows)) ** 0.5)
    matrix = rows.new_empty(d, d) if symmetric else rows.new_zeros(d, d)
    end = 0
    for i in range(d):
        start, end = end, end + d - i
        matrix[i, i:] = rows[start:end]
        if symmetric:
            matrix[i:, i] = rows[start:end]
    return matrix


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
    """

    dtype: torch.dtype | None = None
    working: torch.dtype | None = None
    classes: int | None = None
    symmetric: bool = False

    def pack(self, name: str, tensor: Tensor, seen: int) -> dict[str, Tensor]:
        """Return what is stored of a tensor of which ``seen`` classes are known."""
        if self.classes is not None:
            tensor = tensor.narrow(self.classes, 0, seen)
        if self.symmetric:
            tensor = upper_triangle(tensor)
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
        tensor = state[name]
        if self.working is not None:
            tensor = tensor.to(self.working)
        if name + SCALE in state:
            tensor = tensor * state[name + SCALE].to(tensor)
        if self.symmetric:
            return from_upper_triangle(tensor)
        if self.classes is None:
            return tensor
        shape = list(tensor.shape)
        seen, shape[self.classes] = shape[self.classes], n_classes
        whole = tensor.new_zeros(shape)
        whole.narrow(self.classes, 0, seen).copy_(tensor)
        return whole


Kept = Mapping[str, Packing]  # the tensors of a method's state by name

AS_IS = Packing()
COUNTS = Packing(torch.int32, torch.float64, classes=0)  # [C]
MEANS = Packing(torch.float16, torch.float64, classes=0)  # [C, d], or sums
COVARIANCE = Packing(torch.float16, torch.float64, symmetric=True)  # [d, d]
GRAM = Packing(torch.float32, torch.float64, symmetric=True)  # [M, M]
TARGETS = Packing(torch.float32, torch.float64, classes=1)  # [M, C]


def nbytes(state: dict[str, Tensor]) -> int:
    """Return the bytes of all tensors but the network's, whose names begin with ``net.``."""
    return sum(
        tensor.numel() * tensor.element_size()
        for name, tensor in state.items()
        if not name.startswith("net.")
    )
