"""Engines make shards: on this machine's devices, or on a Ray cluster."""
