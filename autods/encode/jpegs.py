"""JPEG files decoded by torchvision, on a GPU by nvJPEG; resized there too.

Not the reference: decoder and resizing round differently from PIL's. Features record it.
"""

from __future__ import annotations

import io
import warnings

import numpy as np
import torch
from PIL import Image

from autods.core.refusals import cause_of
from autods.encode.decode import load_image
from autods.encode.preprocessing import Preprocessing
from autods.errors import EncoderError

PROBES = ((300, 200), (90, 160))  # width and height of pictures on which both ways are compared
ALIKE = 6.0  # mean difference of bytes: roundings give below 1, another cut-out tens


def check_jpegs(preprocessing: Preprocessing, device: torch.device) -> None:
    """Raise `EncoderError` if JPEG files cannot be decoded and resized on a device."""
    if preprocessing.table is None:
        raise EncoderError(
            "--gpu-decode needs an encoder whose preprocessing ends in ToTensor and Normalize, "
            "as those of open_clip and timm do; nothing was done. Leave it out."
        )
    files = [_smooth(*size) for size in PROBES]
    try:
        images = _decoded(files, device)
    except (ImportError, AttributeError, RuntimeError) as error:
        raise EncoderError(
            f"--gpu-decode needs a torchvision that decodes JPEG files on {device}: "
            f"{cause_of(error)}; nothing was done. Leave it out."
        ) from None
    for data, image in zip(files, images, strict=True):
        expected = pixels_by_pil(data, preprocessing).float()
        got = _resized(image, preprocessing).cpu().float()
        if got.shape != expected.shape or (got - expected).abs().mean() > ALIKE:
            steps = ", ".join(type(step).__name__ for step in preprocessing.first.transforms)
            raise EncoderError(
                f"--gpu-decode does not resize as this encoder's preprocessing does ({steps}): "
                "expected steps that take tensors; nothing was done. Leave it out."
            )


def _smooth(width: int, height: int) -> bytes:
    """Return a JPEG file without edges, which every decoder and every resizing gives alike."""
    rows, columns = (np.linspace(0, 255, n, dtype=np.uint8) for n in (height, width))
    bands = np.broadcast_arrays(rows[:, None], columns, 255 - columns)
    buffer = io.BytesIO()
    Image.fromarray(np.stack(bands, axis=2)).save(buffer, "JPEG", quality=95)
    return buffer.getvalue()


def decode_jpegs(
    files: list[bytes], preprocessing: Preprocessing, device: torch.device
) -> list[torch.Tensor | None]:
    """Return the pixels of JPEG files, uint8 [3, h, w] on a device; ``None`` if not decoded.

    The preprocessing must be one that was cut; its steps for images are applied to tensors.
    """
    if not files:  # torchvision refuses to decode none
        return []
    try:
        return [_resized(image, preprocessing) for image in _decoded(files, device)]
    except RuntimeError:  # says nothing of which file it was; or all at once were too many
        return [_one(data, preprocessing, device) for data in files]


def pixels_by_pil(data: bytes, preprocessing: Preprocessing) -> torch.Tensor:
    """Return the pixels uint8 [3, h, w] of a file that the other decoder refused."""
    return torch.from_numpy(preprocessing.pixels(load_image(data)[0]).copy())


def _one(data: bytes, preprocessing: Preprocessing, device: torch.device) -> torch.Tensor | None:
    try:
        return _resized(_decoded([data], device)[0], preprocessing)
    except RuntimeError as error:
        if "out of memory" in f"{error}":  # not the file's fault; torchvision hides the class
            raise torch.OutOfMemoryError(f"{error}") from None
        return None


def _decoded(files: list[bytes], device: torch.device) -> list[torch.Tensor]:
    """Return uint8 [3, H, W] of each file.

    nvJPEG writes to the memory that torch gives it whatever is queued on the stream: kernels may
    still read what was there before (pytorch/vision#9606), so the host waits for them.
    """
    if device.type == "cuda":
        torch.cuda.current_stream(device).synchronize()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of its replacement by another package
        from torchvision.io import ImageReadMode, decode_jpeg

        data = [torch.frombuffer(bytearray(file), dtype=torch.uint8) for file in files]
        found: list[torch.Tensor] = decode_jpeg(data, mode=ImageReadMode.RGB, device=device)
    return found


def _resized(image: torch.Tensor, preprocessing: Preprocessing) -> torch.Tensor:
    for step in preprocessing.first.transforms:
        if isinstance(step, torch.nn.Module):  # it changes the size; the mode is RGB already
            image = step(image)
    return image
