"""Batch Model Consolidation and its comparison methods on feature streams."""

__version__ = "0.1.0"
