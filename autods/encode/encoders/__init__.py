"""Encoders: open_clip, timm, and any class with their interface."""
