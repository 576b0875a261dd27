"""Layout families: one file each, listed here once."""

from __future__ import annotations

from autods.layouts.base import Layout, RawSample

AnyLayout = Layout

__all__ = ["AnyLayout", "Layout", "RawSample"]
