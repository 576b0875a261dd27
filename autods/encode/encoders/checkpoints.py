"""Get the weights that `weights` decided on, load them safely, take their hash."""

from __future__ import annotations

import hashlib
import os
import pickle
import socket
import urllib.request
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from urllib.parse import urlsplit

import open_clip
import torch
from open_clip import pretrained as hub

from autods.core.refusals import cause_of
from autods.encode.encoders.weights import NEXT_STEP, Weights
from autods.errors import EncoderError


def fetch_weights(weights: Weights) -> Path:
    """Return the checkpoint file of a published tag: the cached one, else downloaded.

    Raises `EncoderError` when the weights are neither cached nor reachable.
    """
    repository, name = os.path.split(weights.source.get("hf_hub", ""))
    if repository and (cached := cached_file(repository, _hub_files(name))):
        return cached
    place = repository or weights.source.get("url", "")
    try:
        url = weights.source.get("url", "")
        resolve(hub_host() if repository else urlsplit(url).hostname or "")
        return Path(hub.download_pretrained(dict(weights.source)))
    except Exception as error:  # the hub client raises errors of many libraries
        raise EncoderError(
            f"weights '{weights.label}' of encoder '{weights.model}' are not in the local cache "
            f"and could not be downloaded from {place}: {cause_of(error)}; nothing was done. "
            f"Connect to the network and run the same command again. {NEXT_STEP}"
        ) from None


def load_weights(model: torch.nn.Module, path: Path, what: str) -> None:
    """Load a checkpoint into a float32 open_clip model without executing code from the file.

    The file is a ``.safetensors``, or one of ``torch.save`` that holds tensors only; ``what`` names
    the encoder in messages. Raises `EncoderError` when the file would need code to load, is
    damaged, or does not fit the model.
    """
    state = read_state(path, open_clip.factory.load_state_dict)
    own = model.state_dict()
    # Checked before open_clip sees the file: it would interpolate positions silently.
    wrong = [
        f"{key} is {list(state[key].shape)} instead of {list(own[key].shape)}"
        for key in sorted(own.keys() & state.keys())
        if state[key].shape != own[key].shape and not key.startswith("logit_")
    ]
    missing, unexpected = [], []
    if not wrong:
        try:
            result = open_clip.load_checkpoint(model, str(path), strict=False, weights_only=True)
            missing, unexpected = list(result.missing_keys), list(result.unexpected_keys)
        except (RuntimeError, KeyError, ValueError, AttributeError) as error:
            wrong = [f"{error}".splitlines()[-1].strip()[:200]]
    problems = [
        f"{len(keys)} {kind} ({', '.join(keys[:3])}{', ...' if len(keys) > 3 else ''})"
        for kind, keys in [("missing", missing), ("unexpected", unexpected), ("wrong", wrong)]
        if keys
    ]
    if problems:
        raise EncoderError(
            f"{path} does not fit encoder '{what}': {'; '.join(problems)}; nothing was done. "
            "Name the model that these weights were trained as with --model."
        )


def hash_weights(model: torch.nn.Module) -> str:
    """Return the sha256 over name, dtype, shape and bytes of all weights, in order of name.

    Taken of the float32 model, it is the same for a file, a download and any storage type
    that holds the values exactly.
    """
    digest = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        array = tensor.detach().cpu().contiguous()
        digest.update(f"{name}\0{array.dtype}\0{list(array.shape)}\0".encode())
        digest.update(array.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def read_state(
    path: Path, load: Callable[..., Mapping[str, torch.Tensor]]
) -> dict[str, torch.Tensor]:
    """Read the tensors of a checkpoint file without executing code from it.

    ``load`` is the library's reader of its own files, called with path, device and
    ``weights_only``. Raises `EncoderError` as `load_weights` does.
    """
    try:
        if path.suffix in (".npz", ".npy"):
            raise ValueError("expected .safetensors or a file of torch.save, got a numpy file")
        state = dict(load(str(path), device="cpu", weights_only=True))
        if not all(isinstance(value, torch.Tensor) for value in state.values()):
            raise ValueError("expected a table of tensors")
    except (pickle.UnpicklingError, RuntimeError) as error:
        raise EncoderError(
            f"{path} cannot be loaded without executing code from it, or is damaged "
            f"({cause_of(error)}); it was not loaded. Convert it to .safetensors where you trust "
            "it, and name that file."
        ) from None
    except Exception as error:  # cut-off zip, empty file, safetensors' own errors
        raise EncoderError(
            f"{path} is not a readable checkpoint: {type(error).__name__}: {f'{error}'[:160]}; it "
            "was not loaded. Expected .safetensors, or tensors saved by torch.save."
        ) from None
    return state


def cached_file(repository: str, names: Iterable[str]) -> Path | None:
    """Return the first of the named files in the hub's local cache, without asking the network."""
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    for name in names:
        try:
            return Path(hf_hub_download(repository, name, local_files_only=True))
        except (LocalEntryNotFoundError, HfHubHTTPError, OSError):
            continue
    return None


def hub_host() -> str:
    """Return the host that hub downloads come from."""
    from huggingface_hub.constants import ENDPOINT

    return urlsplit(ENDPOINT).hostname or ""


def resolve(host: str) -> None:
    """Raise `ConnectionError` at once where a host is not reachable.

    The hub client would retry for a minute.
    """
    if urllib.request.getproxies():
        return
    try:
        socket.getaddrinfo(host, 443)
    except OSError as error:
        raise ConnectionError(f"{host} is not reachable ({error.strerror})") from None


def _hub_files(name: str) -> list[str]:
    """Return the names that a checkpoint of the hub may have, the safe format first."""
    usual = open_clip.constants.HF_WEIGHTS_NAME
    if name in ("", usual):
        return [open_clip.constants.HF_SAFE_WEIGHTS_NAME, usual]
    return list(dict.fromkeys([str(Path(name).with_suffix(".safetensors")), name]))
