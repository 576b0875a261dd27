"""Print the packages that the check needs and this Python lacks, one a line."""

from __future__ import annotations

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
            print(package)


if __name__ == "__main__":
    main()
