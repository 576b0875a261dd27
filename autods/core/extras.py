"""Packages that the light installation leaves out, and the extra of ``autods-bmc`` with each."""

from __future__ import annotations

from importlib.util import find_spec

from autods.errors import UsageError

EXTRAS = {  # import names; those of two extras, torch and safetensors, are not here
    "extract": ("open_clip", "timm", "torchvision"),
    "report": ("altair", "jinja2", "pandas", "vl_convert"),
    "ray": ("ray",),
    "interop": ("avalanche", "continuum", "datasets"),
    "umap": ("umap",),
    "trackers": ("alembic", "mlflow", "sqlalchemy", "tensorboard", "wandb"),
}
OPTIONAL = {"safetensors", "torch"}.union(*EXTRAS.values())


def require(what: str, *packages: str) -> None:
    """Raise `UsageError`, which names the extra to install, if an optional package is missing."""
    for package in packages:
        if find_spec(package) is None:
            raise missing(package, what)


def missing(package: str, what: str, otherwise: str = "extract") -> UsageError:
    """Return the error about a missing package; ``otherwise`` is the extra of any not listed."""
    extra = next((extra for extra, names in EXTRAS.items() if package in names), otherwise)
    return UsageError(
        f"{what} needs the package {package}, which is not installed; nothing was done. "
        f"Install it with: pip install 'autods-bmc[{extra}]'"
    )
