"""Pages made from docstrings and tables in the code: errors, metrics, examples, API."""

from __future__ import annotations

import ast
import importlib
import inspect
import re
from pathlib import Path
from typing import Any

from docs_methods import markdown, own_words

REPOSITORY = Path(__file__).resolve().parents[2]
EXAMPLES = REPOSITORY / "docs" / "examples"
SOURCES = [path for package in ("autods", "bmc") for path in REPOSITORY.glob(f"{package}/**/*.py")]
CLASS = re.compile(r"^class (\w+)\((\w+)\):", re.MULTILINE)

# Beside the public face: adapters, and what an extension implements.
FURTHER = {
    "autods": [
        "interop.torch_data", "interop.avalanche", "interop.continuum", "interop.huggingface",
        "interop.scikit", "interop.mammoth", "interop.arrays", "layouts.base",
        "encode.encoders.interface",
    ],
    "bmc": ["methods.base", "methods.net_method", "config", "engines.base", "runs.trackers"],
}  # fmt: skip

ERRORS = """\
# Errors

A message says what was expected, what came, what happened to the data and what to do next. In
Python every one is a class below `autods.errors.AutodsError`, one for each cause; on a command
line it ends the command with the exit code shown. Made from the docstrings of these classes.

What a dataset could not be fetched for is also a word in the table of `autods fetch --all`: the
column "cause". Anything that is shown with a traceback is a fault of the program: report it with
the output of `autods --version`.

| error | cause in tables | exit code | what happened, and what to do |
|---|---|---:|---|
"""

# Next steps that are told by messages, as they depend on the case, and not by docstrings.
STEPS = {
    "AutodsError": "Do what the message says.",
    "RunsFailed": "Look at the reasons above it, then run the same command again with `--resume`.",
    "CheckpointError": "Free space and run the command again with `--resume`; if what is there is "
    "damaged, move the run folder away.",
    "RunExists": "Add `--resume` to complete or reuse it, or choose another `--out`.",
    "RunMismatch": "Choose another `--out`, or repeat the former settings.",
}

METRICS = """\
# Metrics

R is the matrix of accuracies: R[s, j] on task j after the s-th evaluation; "row of j" is the first
evaluation after j was learned. `--evaluate-every` says after which tasks a run is evaluated
([One grid](comparing.md#one-grid)). A run keeps three matrices, `class-il`, `task-il` and
`dataset-id`, and `bmc.runs.metrics` has every formula as a pure function of R; a task without
samples in the split that is measured changes none of them. Made from the table that the report
prints.

| name | definition |
|---|---|
"""

COSTS = """
Costs stand beside accuracy in every table:

| name | definition |
|---|---|
| `communication_bytes` | bytes that experts sent to the centre, as serialised |
| `broadcast_bytes` | bytes of the model that the centre sent to experts |
| `memory_bytes` | bytes kept between tasks beside the network, as in the checkpoint |
| `total_bytes` | total cost: `memory_bytes` + `communication_bytes` + `broadcast_bytes` |
| `central_bytes` | bytes of all training samples (features in float16, labels in four bytes), \
which must travel to a method that learns in one place; 0 for one whose experts send messages |
| `distributed_bytes` | distributed total: `total_bytes` + `central_bytes` |
| cost accuracy | 100 times `final_mean` per megabyte (10⁶ bytes) of total cost |
| relative time | seconds of learning, without evaluation, over those of fine-tuning with the same \
order and seed |
"""


def errors_page() -> str:
    """Return the table of all classes below `AutodsError` in both packages."""
    rows = []
    for error in sorted(error_classes(), key=lambda e: e.__name__):
        cause = getattr(error, "cause", "")
        words = " ".join(markdown(own_words(error)).split())
        step = getattr(error, "usual_step", "") or STEPS.get(error.__name__, "")
        words += f" {markdown(step)}"
        name = f'<a id="{error.__name__.lower()}"></a>`{error.__name__}`'
        rows.append(f"| {name} | {cause} | {error.exit_code} | {words} |")
    return ERRORS + "\n".join(rows) + "\n"


def error_classes() -> list[Any]:
    """Return `AutodsError` and every class below it that stands in the two packages."""
    places: dict[str, tuple[str, str]] = {}  # class to its base and module
    for path in sorted(SOURCES):
        module = ".".join(path.relative_to(REPOSITORY).with_suffix("").parts)
        for name, base in CLASS.findall(path.read_text(encoding="utf-8")):
            places[name] = base, module
    found = {"AutodsError": "autods.errors"}
    while more := {n: m for n, (b, m) in places.items() if b in found and n not in found}:
        found |= more
    return [getattr(importlib.import_module(module), name) for name, module in found.items()]


def metrics_page() -> str:
    """Return the definitions that the report prints, and those of costs."""
    from bmc.runs.metrics import DEFINITIONS

    rows = [f"| `{name}` | {markdown(text)} |" for name, text in DEFINITIONS.items()]
    return METRICS + "\n".join(rows) + "\n" + COSTS


def api_page(package: str) -> str:
    """Return the reference of a package's public face, which mkdocstrings fills in."""
    face = importlib.import_module(package)
    parts = [
        f"# {package}, from its docstrings",
        f"`import {package}` offers these names; they change with a new major version only, "
        "everything else may change with any.",
    ]
    for name in sorted(set(face.__all__) - {"__version__"}):
        value = inspect.unwrap(getattr(face, name))
        named = value if hasattr(value, "__name__") else type(value)  # of a registry, its class
        path = named.__name__ if inspect.ismodule(named) else f"{named.__module__}.{named.__name__}"
        parts.append(f"::: {path}\n    options:\n      heading: {package}.{name}")
    parts.append("# For extensions and other libraries")
    parts += [f"::: {package}.{name}" for name in FURTHER[package]]
    return "\n\n".join(parts) + "\n"


def examples_page() -> str:
    """Return every program of docs/examples with what it prints.

    What it prints stands beside it as NAME.txt.
    """
    parts = [
        "# Examples",
        "Each is a whole program, in `docs/examples/`. Below it stands what it prints; a test runs "
        "it and compares.",
    ]
    for path in sorted(EXAMPLES.glob("*.py")):
        text = path.read_text(encoding="utf-8")
        about = (ast.get_docstring(ast.parse(text)) or path.stem).splitlines()
        parts += [f"## {about[0].rstrip('.')}", f'```python title="{path.name}"\n{text}```']
        printed = path.with_suffix(".txt")
        if printed.exists():
            parts.append(f"It prints:\n\n```text\n{printed.read_text(encoding='utf-8')}```")
    return "\n\n".join(parts) + "\n"
