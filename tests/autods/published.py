"""Build the archives of the real datasets in the shared folder, in their published form."""

import tarfile
import zipfile
from pathlib import Path

import numpy as np
from archives import SHARED

RAW = SHARED / "data" / "raw"
OMNIGLOT = RAW / "omniglot" / "python"  # holds the two zips as they were published


def publish_flowers(out: Path) -> list[Path]:
    """Write 17flowers.tgz and datasplits.mat."""
    tgz = out / "17flowers.tgz"
    with tarfile.open(tgz, "w:gz", compresslevel=1) as archive:
        archive.add(RAW / "flowers17" / "jpg", "jpg")
    write_datasplits(out / "datasplits.mat")
    return [tgz, out / "datasplits.mat"]


def publish_tinyimagenet(out: Path) -> Path:
    """Write tiny-imagenet-200.zip."""
    target, folder = out / "tiny-imagenet-200.zip", RAW / "tinyimagenet"
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for path in sorted(folder.rglob("*")):
            archive.write(path, path.relative_to(folder).as_posix())
    return target


def write_datasplits(target: Path) -> None:
    """Write a datasplits.mat over the images that exist: 12 / 6 / 6 of each 24."""
    from scipy.io import savemat

    numbers = sorted(int(p.stem[-4:]) for p in (RAW / "flowers17" / "jpg").glob("*.jpg"))
    parts: dict[str, list[int]] = {"trn": [], "val": [], "tst": []}
    for position, number in enumerate(numbers):
        parts[("trn", "trn", "val", "tst")[position % 4]].append(number)
    variables = {
        f"{name}{k}": np.array([values], dtype=np.uint16)
        for name, values in parts.items()
        for k in (1, 2, 3)
    }
    savemat(target, variables)
