"""Print the packages that the check needs and this Python lacks, one a line.

With --training, only those without which no part runs; the others are for `encode` and `files`.
torchvision comes with the version that fits torch: another one does not load.
"""

from __future__ import annotations

import sys
from importlib.metadata import version
from importlib.util import find_spec

# modules by the package that brings them; of those that only another needs, those that it imports
TRAINING = {
    "annotated-types": "annotated_types",
    "h5py": "h5py",
    "numpy": "numpy",
    "pydantic": "pydantic",
    "pydantic-core": "pydantic_core",
    "pyyaml": "yaml",
    "rich": "rich",
    "safetensors": "safetensors",
    "scipy": "scipy",
    "torch": "torch",
    "tqdm": "tqdm",
    "typing-extensions": "typing_extensions",
    "typing-inspection": "typing_inspection",
}
NEEDED = TRAINING | {
    "filelock": "filelock",
    "ftfy": "ftfy",
    "httpx": "httpx",
    "huggingface-hub": "huggingface_hub",
    "open_clip_torch": "open_clip",
    "pillow": "PIL",
    "platformdirs": "platformdirs",
    "pyarrow": "pyarrow",
    "regex": "regex",
    "timm": "timm",
    "torchvision": "torchvision",
    "typer": "typer",
    "wcwidth": "wcwidth",
}


def main() -> None:
    for package, module in (TRAINING if "--training" in sys.argv else NEEDED).items():
        if find_spec(module) is None:
            fitting = package == "torchvision" and find_spec("torch") is not None
            print(vision_of(version("torch")) if fitting else package)


def vision_of(torch: str) -> str:
    """Return what to ask pip for: torch 2.N has torchvision 0.(N + 15)."""
    major, minor = map(int, torch.split(".")[:2])
    return f"torchvision~=0.{minor + 15}.0" if major == 2 else "torchvision"


if __name__ == "__main__":
    main()
