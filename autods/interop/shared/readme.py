"""The README of a published folder: what is in it, whose data it was made of, how to use it."""

from __future__ import annotations

from pathlib import Path

from autods.core.files import atomic
from autods.core.version import __version__
from autods.interop.shared.manifest import FOLDER, KIND, SharedFeatures, SharedSet
from autods.manifest.catalogue import load

HEAD = """# Features of image datasets

Embeddings of images by fixed encoders, one folder for each, as feature sets of autods {version}:
HDF5 shards of float16 features with labels, sample numbers and hashes. No image is here.

The features were computed from datasets that have owners. Their licences, below as far as they are
known, hold for what you do with the features, too; cite the datasets that you use.

## Use

```sh
autods fetch --features hf:OWNER/REPOSITORY
autods fetch --features https://HOST/FOLDER/features/{name}.yaml
autods fetch --features {name}.yaml   # in the folder features of a copy
```

Every file is checked against its sha256 in `features/`. Then, in Python:

```python
import autods

stream = autods.open_stream("{stream}", encoder="{encoder}")
```
"""


def write_readme(folder: Path) -> Path:
    """Write the README for all features manifests of a published folder."""
    shared = [
        load(path, SharedFeatures)
        for path in sorted((folder / FOLDER).glob("*.yaml"))
        if f"kind: {KIND}" in path.read_text(encoding="utf-8")
    ]
    first = shared[0]
    text = HEAD.format(
        version=__version__,
        name=first.name,
        encoder=first.encoder,
        stream=",".join(first.names()[:2]),
    )
    for one in shared:
        text += f"\n## {one.name}\n\nEncoder `{one.encoder}`, {one.dim} dimensions. Provenance:\n\n"
        text += "".join(
            f"- {_cell(key)}: {_cell(('no', 'yes')[value] if isinstance(value, bool) else value)}\n"
            for key, value in sorted(one.provenance.items())
            if value is not None
        )
        text += (
            "\n| dataset | train | dev | test | licence | citation |\n|---|---|---|---|---|---|\n"
        )
        text += "".join(map(_row, one.datasets))
    with atomic(folder / "README.md") as temporary:
        temporary.write_text(text, encoding="utf-8")
    return folder / "README.md"


def _row(one: SharedSet) -> str:
    title = one.title or one.dataset
    named = f"{_cell(one.dataset)}: {_cell(title)}" if title != one.dataset else _cell(title)
    counts = [f"{one.splits.get(split, 0):,}" for split in ("train", "dev", "test")]
    texts = [_cell(one.licence or "unknown"), _cell(one.citation or one.homepage or "unknown")]
    return f"| {' | '.join([named, *counts, *texts])} |\n"


def _cell(value: object) -> str:
    text = " ".join(str(value).split())
    for sign, shown in (("&", "&amp;"), ("<", "&lt;"), ("|", "\\|"), ("`", "'")):
        text = text.replace(sign, shown)
    return text
