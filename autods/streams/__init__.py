"""Streams of tasks: types, opening, orders, images and synthetic data."""
