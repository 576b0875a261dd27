"""The colours of every page and chart, as (light, dark)."""

from __future__ import annotations

# Each at least 3:1 against its ground, text 4.5:1.
PALETTE = {
    "ink": ("#1b1f24", "#e6e9ed"), "soft": ("#57606a", "#a3acb7"), "line": ("#d4d9df", "#39414b"),
    "ground": ("#ffffff", "#12161b"), "panel": ("#f6f8fa", "#1b2128"),
    "link": ("#0a58a8", "#7fb8f0"), "ref": ("#6b7280", "#a3acb7"),
    "m0": ("#0072b2", "#4fa8e8"), "m1": ("#d55e00", "#ff8d50"), "m2": ("#00876a", "#2fc49b"),
    "m3": ("#a4508b", "#e39cc5"), "m4": ("#b07900", "#efb23e"), "m5": ("#3a8fc4", "#9ad5f5"),
    "m6": ("#6f6a00", "#d8cf5c"), "m7": ("#7a4b2a", "#d3a283"),
    "h0": ("#eef3f9", "#1a2530"), "h1": ("#dbe7f3", "#1e3044"), "h2": ("#c3d8ec", "#233e5a"),
    "h3": ("#a5c5e2", "#2a4e72"), "h4": ("#83afd6", "#33608b"), "h5": ("#6297c7", "#3a6c9a"),
    "h6": ("#3f78ae", "#528cc0"), "h7": ("#2d669f", "#70a6d6"), "h8": ("#1b4c81", "#98c3e8"),
    "h9": ("#0d3360", "#c9e2f8"),
}  # fmt: skip
LEVELS = [f"h{k}" for k in range(10)]  # a scale, low to high
COLOURS = 8  # m0 to m7, which people can tell apart


def variables(dark: bool) -> str:
    """Return the palette as declarations of a style sheet."""
    return " ".join(f"--{name}: {colours[dark]};" for name, colours in PALETTE.items())
