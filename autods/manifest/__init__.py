"""Manifests: their schema, sources, streams, files and catalogue."""
