"""Batch Model Consolidation and its comparison methods on feature streams."""

from autods.core.version import __version__

__all__ = ["__version__"]
