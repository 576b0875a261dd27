"""The interface of an encoder: what your own needs, and what the shipped ones promise.

Nothing heavy is imported here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    import torch
    from PIL import Image


class Transform(Protocol):
    """Preprocessing: what it returns for one image is float32 [3, h, w]. Can be pickled."""

    def __call__(self, image: Image.Image) -> torch.Tensor:
        """Turn an image of any size and mode into the encoder's input."""


class Encoder(Protocol):
    """Turns images into features; any object with these attributes can be used to extract.

    Attributes
    ----------
    name
        Folder name of the features: letters, digits, ``.``, ``_`` and ``-``. An encoder that
        gives other features needs another name.
    dim
        Width d of the features.
    transform
        Preprocessing of one image of any size and mode, to float32 [3, h, w]. With decoding
        in worker processes it is pickled, so it must be importable there.
    provenance
        What determines the features, as plain JSON. Features whose provenance differs never
        mix. At least ``weights_sha256`` (of whatever stands for the weights),
        ``preprocessing``, ``precision`` and ``quick_gelu`` (false if the model has
        no such activation); ``open_clip``, ``timm``, ``torch`` and ``device`` only change last
        bits.

    Examples
    --------
    An encoder of your own, here the mean colour of a grid of 2 x 2 cells::

        from collections.abc import Mapping
        from typing import Any

        import numpy as np
        import torch
        from torchvision.transforms.functional import pil_to_tensor


        class MyEncoder:
            name = "mean-colour.2x2"
            dim = 12
            provenance: Mapping[str, Any] = {
                "model": "mean-colour",
                "weights_sha256": "none",  # there are no weights
                "preprocessing": {"size": [32, 32], "mode": "RGB"},
                "precision": "fp32",
                "quick_gelu": False,
            }

            @staticmethod
            def transform(image):
                return pil_to_tensor(image.convert("RGB").resize((32, 32))).float() / 255

            def encode(self, batch):  # [n, 3, 32, 32]
                cells = torch.nn.functional.avg_pool2d(batch, 16)  # [n, 3, 2, 2]
                return cells.flatten(1).numpy().astype(np.float32)  # [n, 12]

    Pass it to the extraction of an indexed dataset::

        import autods
        from autods.encode.extract import extract_dataset

        manifest = autods.Catalogue().dataset("aircraft")
        extract_dataset(manifest, autods.DataRoot.open(), encoder=MyEncoder())
    """

    @property
    def name(self) -> str:
        """Folder name of the features."""

    @property
    def dim(self) -> int:
        """Width d of the features."""

    @property
    def transform(self) -> Transform:
        """Preprocessing of one image."""

    @property
    def provenance(self) -> Mapping[str, Any]:
        """What determines the features."""

    def encode(self, batch: torch.Tensor) -> npt.NDArray[np.float32]:
        """Return the features float32 [n, d] of preprocessed images float32 [n, 3, h, w]."""


@runtime_checkable
class TextEncoder(Protocol):
    """An encoder that places texts in the space of its image features."""

    @property
    def name(self) -> str:
        """Name of the encoder."""

    @property
    def dim(self) -> int:
        """Width d of the embeddings."""

    @property
    def provenance(self) -> Mapping[str, Any]:
        """What determines the embeddings."""

    def encode_text(self, texts: Sequence[str]) -> npt.NDArray[np.float32]:
        """Return the embeddings float32 [n, d] of n texts, not normalised."""
