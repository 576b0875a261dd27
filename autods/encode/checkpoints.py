"""Get the weights that `weights` decided on, load them safely, take their hash."""

from __future__ import annotations

import hashlib
import os
import pickle
import socket
import urllib.request
from pathlib import Path
from urllib.parse import urlsplit

import open_clip
import torch
from open_clip import pretrained as hub

from autods.encode.weights import NEXT_STEP, Weights
from autods.errors import EncoderError


def fetch_weights(weights: Weights) -> Path:
    """Return the checkpoint file of a published tag: the cached one, else downloaded.

    Raises
    ------
    EncoderError
        When the weights are neither cached nor reachable.
    """
    repository, name = os.path.split(weights.source.get("hf_hub", ""))
    if repository and (cached := _cached(repository, name or open_clip.constants.HF_WEIGHTS_NAME)):
        return cached
    place = repository or weights.source.get("url", "")
    try:
        _resolve(_host(weights))
        return Path(hub.download_pretrained(dict(weights.source)))
    except Exception as error:  # the hub client raises errors of many libraries
        cause = f"{error}".splitlines()[0][:200] if f"{error}" else type(error).__name__
        raise EncoderError(
            f"weights '{weights.label}' of encoder '{weights.model}' are not in the local cache "
            f"and could not be downloaded from {place}: {cause}; nothing was done. Connect to "
            f"the network and run the same command again. {NEXT_STEP}"
        ) from None


def load_weights(model: torch.nn.Module, path: Path, what: str) -> None:
    """Load a checkpoint into a model without executing code from the file.

    Parameters
    ----------
    model
        An open_clip model, float32.
    path
        ``.safetensors``, or a file of ``torch.save`` that holds tensors only.
    what
        The encoder's name, for messages.

    Raises
    ------
    EncoderError
        When the file would need code to load, is damaged, or does not fit the model.
    """
    state = _read_state(path)
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


def _read_state(path: Path) -> dict[str, torch.Tensor]:
    try:
        if path.suffix in (".npz", ".npy"):
            raise ValueError("expected .safetensors or a file of torch.save, got a numpy file")
        state: dict[str, torch.Tensor] = open_clip.factory.load_state_dict(
            str(path), device="cpu", weights_only=True
        )
        if not all(isinstance(value, torch.Tensor) for value in state.values()):
            raise ValueError("expected a table of tensors")
    except (pickle.UnpicklingError, RuntimeError) as error:
        cause = f"{error}".splitlines()[0][:160]
        raise EncoderError(
            f"{path} cannot be loaded without executing code from it, or is damaged ({cause}); "
            "it was not loaded. Convert it to .safetensors where you trust it, and name that file."
        ) from None
    except Exception as error:  # cut-off zip, empty file, safetensors' own errors
        raise EncoderError(
            f"{path} is not a readable checkpoint: {type(error).__name__}: {f'{error}'[:160]}; it "
            "was not loaded. Expected .safetensors, or tensors saved by torch.save."
        ) from None
    return state


def _cached(repository: str, name: str) -> Path | None:
    """Return a file of the hub's local cache; the hub would ask the network first."""
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    stem = Path(name).with_suffix("").name
    safe = open_clip.constants.HF_SAFE_WEIGHTS_NAME
    names = [safe] if name == open_clip.constants.HF_WEIGHTS_NAME else [f"{stem}.safetensors"]
    for candidate in dict.fromkeys([*names, name]):
        try:
            return Path(hf_hub_download(repository, candidate, local_files_only=True))
        except (LocalEntryNotFoundError, HfHubHTTPError, OSError):
            continue
    return None


def _host(weights: Weights) -> str:
    from huggingface_hub.constants import ENDPOINT

    url = ENDPOINT if weights.source.get("hf_hub") else weights.source.get("url", "")
    return urlsplit(url).hostname or ""


def _resolve(host: str) -> None:
    """Fail at once where there is no network: the hub client would retry for a minute."""
    if urllib.request.getproxies():
        return
    try:
        socket.getaddrinfo(host, 443)
    except OSError as error:
        raise ConnectionError(f"{host} is not reachable ({error.strerror})") from None
