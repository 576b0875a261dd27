"""The page of methods: one section for each method that the registry has."""

from __future__ import annotations

import inspect
import re
from dataclasses import fields
from typing import Any

INTRODUCTION = """\
# Every method

Made from the code: the sections are the methods that `bmc-stream methods` lists.

All methods learn frozen features. Those that train a network train the same one, a residual MLP
(d → 128 → 256 → 256 → classes, both blocks of inner width 128), by AdamW; those in closed form
need no network. `L_T` is the mean
cross-entropy over the classes that compete, `f(x)` the logits, `φ` intermediate features, `M` the
memory, θ the parameters, C the number of classes seen, I the identity (in `FeCAM`: ones on the
diagonal, and 1 everywhere). Bold words at the end of a section are the method's own options;
[the reference](reference/bmc-stream.md) has those that all share.
Measured results: [benchmarks](benchmarks/methods.md).
"""


def methods_page() -> str:
    """Return the page; a method without an equation or a source is an error."""
    from bmc.methods import METHODS

    own = {n: METHODS.get(n) for n in METHODS.names()}
    own = {n: method for n, method in own.items() if method.__module__.startswith("bmc.")}
    if bare := [
        n for n, method in own.items() if not {"equation", "source"} <= vars(method).keys()
    ]:
        raise LookupError(f"methods without an equation or a source: {', '.join(bare)}")
    names = sorted(own, key=lambda name: (not name.startswith("bmc"), name))
    return "\n".join([INTRODUCTION, *(_section(n, own[n]) for n in names)])


def _section(name: str, method: Any) -> str:
    module = inspect.getmodule(method)
    assert module is not None
    place = module.__name__.replace(".", "/")
    parts = [
        f"## {name}",
        f"**{method.title}.** {markdown(own_words(method))}",
        f"```text\n{inspect.cleandoc(method.equation)}\n```",
        f"Source: {linked(method.source)}. Code: `{place}.py`.",
        markdown(own_words(module)),
        options_of(method),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def own_words(thing: Any) -> str:
    """Return a docstring up to its first section of parameters or attributes."""
    return re.split(r"\n\n\w+\n-{3,}\n", inspect.getdoc(thing) or "")[0]


def options_of(method: Any) -> str:
    """Return a method's own options as a list."""
    return "\n".join(
        f"- **`-o {method.name}.{f.name}`** (default {f.default}): {markdown(f.metadata['help'])}"
        for f in fields(method.Options)
    )


def linked(source: str) -> str:
    """Return a source with arXiv numbers as links."""
    return re.sub(
        r"arXiv (\d{4}\.\d{5})", r"[arXiv \1](https://arxiv.org/abs/\1)", markdown(source)
    )


def markdown(text: str) -> str:
    """Return text of a docstring as Markdown: only code spans and indented blocks have meaning."""
    lines = []
    for line in text.splitlines():
        if line.startswith("    "):
            lines.append(line)
            continue
        spans = re.split(r"(``.+?``|`[^`]+`)", line)
        lines.append("".join(s if s.startswith("`") else _escaped(s) for s in spans))
    return "\n".join(lines)


def _escaped(text: str) -> str:
    return re.sub(r"([*_\[\]|])", r"\\\1", text.replace("&", "&amp;").replace("<", "&lt;"))
