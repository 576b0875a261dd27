"""Print the packages that the check needs and this Python lacks, one a line.

torchvision comes with the version that fits torch: another one does not load.
"""

from __future__ import annotations

from importlib.metadata import version
from importlib.util import find_spec

# modules by the package that brings them; of those that only another needs, those that it imports
NEEDED = {
    "annotated-types": "annotated_types",
    "filelock": "filelock",
    "ftfy": "ftfy",
    "h5py": "h5py",
    "httpx": "httpx",
    "huggingface-hub": "huggingface_hub",
    "numpy": "numpy",
    "open_clip_torch": "open_clip",
    "pillow": "PIL",
    "platformdirs": "platformdirs",
    "pyarrow": "pyarrow",
    "pydantic": "pydantic",
    "pydantic-core": "pydantic_core",
    "pyyaml": "yaml",
    "regex": "regex",
    "rich": "rich",
    "safetensors": "safetensors",
    "scipy": "scipy",
    "timm": "timm",
    "torch": "torch",
    "torchvision": "torchvision",
    "tqdm": "tqdm",
    "typer": "typer",
    "typing-extensions": "typing_extensions",
    "typing-inspection": "typing_inspection",
    "wcwidth": "wcwidth",
}


def main() -> None:
    for package, module in NEEDED.items():
        if find_spec(module) is None:
            fitting = package == "torchvision" and find_spec("torch") is not None
            print(vision_of(version("torch")) if fitting else package)


def vision_of(torch: str) -> str:
    """Return what to ask pip for: torch 2.N has torchvision 0.(N + 15)."""
    major, minor = map(int, torch.split(".")[:2])
    return f"torchvision~=0.{minor + 15}.0" if major == 2 else "torchvision"


if __name__ == "__main__":
    main()
