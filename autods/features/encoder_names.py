"""What the name of an encoder says: a model, and the weights that it has."""

from __future__ import annotations

UNTRAINED = (
    "The encoder's weights are random: the numbers show that the pipeline works, and nothing else."
)


def remark_on(encoder: str) -> str:
    """Return a line about an encoder that was never trained, ``""`` about any other."""
    return UNTRAINED if ".random-" in encoder else ""


def encoder_options(encoder: str) -> dict[str, str]:
    """Return the options of ``autods extract`` that name an encoder; a file's is ``FILE``.

    Keys are ``model`` and perhaps ``pretrained`` or ``random_weights``.
    """
    model, _, tag = encoder.partition(".")
    if model.startswith("timm-"):  # timm-<architecture>[.<tag>][.file-... or .random-...]
        first, _, rest = tag.partition(".")
        named = bool(first) and not first.startswith(("random-", "file-"))
        model = model.replace("timm-", "timm:", 1) + (f".{first}" if named else "")
        tag = rest if named else first
    if tag.startswith("random-"):
        return {"model": model, "random_weights": tag.removeprefix("random-")}
    if tag.startswith("file-"):
        return {"model": model, "pretrained": "FILE"}
    return {"model": model, **({"pretrained": tag} if tag else {})}


def typed_options(encoder: str) -> str:
    """Return the options of `encoder_options` as they are typed."""
    options = encoder_options(encoder).items()
    return " ".join(f"--{key.replace('_', '-')} {value}" for key, value in options)
