"""Layout families: one file each, listed in `autods.layouts.combined`."""

from __future__ import annotations

from typing import Annotated, Any, get_args

from pydantic import BeforeValidator, Field

from autods.core.registry import Registry
from autods.errors import UnknownName
from autods.layouts.base import Layout, RawSample
from autods.layouts.combined import Combined, Simple

Families = Simple | Combined
FAMILIES: Registry[type[Layout]] = Registry("layout family")
for _family in get_args(Families):
    FAMILIES.register(get_args(_family.model_fields["family"].annotation)[0])(_family)


def _known_family(value: Any) -> Any:
    """Answer an unknown family with the nearest names, before pydantic lists them all."""
    if isinstance(value, dict):
        inner = value.get("parts") if value.get("family") == "combined" else None
        parts = [part for part in inner or () if isinstance(part, dict)]
        for part in [value, *parts]:
            if "family" not in part:
                known = ", ".join(FAMILIES.names())
                raise ValueError(f"family: required key is missing; expected one of {known}")
            try:
                FAMILIES.get(str(part["family"]))
            except UnknownName as error:
                raise ValueError(f"family: {error}") from None
    return value


AnyLayout = Annotated[Families, Field(discriminator="family"), BeforeValidator(_known_family)]

__all__ = ["FAMILIES", "AnyLayout", "Layout", "RawSample"]
