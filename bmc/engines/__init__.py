"""Engines: where the experts of a group train. All give the same buffers."""
