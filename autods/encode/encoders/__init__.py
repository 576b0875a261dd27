"""Encoders: open_clip, timm, and whatever keeps their interface."""
