"""A CUDA device extracts the features that the CPU does. Skipped without such a device.

`test_extract_simulated.py` runs the same way on a simulated device.
"""

from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from encode_tools import drawn, drawn_manifest, make_dataset, many, tiny_on
from gpu.encoding import APART, apart, changing, decoded_apart

from autods.core.files import hash_tree
from autods.core.root import DataRoot
from autods.encode.engines.devices import DeviceEngine
from autods.encode.extract import extract_dataset
from autods.features.sets import open_features

CUDA = torch.device("cuda")
pytestmark = [
    pytest.mark.cuda,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device"),
]


@pytest.mark.parametrize("precision", APART)
def test_features_of_a_precision_are_nearly_those_of_float32_on_the_cpu(precision):
    assert apart(precision, CUDA) <= APART[precision]


def test_features_of_jpegs_decoded_on_the_device_are_nearly_those_of_pillow():
    assert decoded_apart(CUDA) <= 0.05


def test_features_of_jpegs_decoded_on_the_device_are_the_same_bits_every_time():
    assert changing(CUDA, 160) == 0


def extracted(folder: Path, device: str, **options: object) -> tuple[np.ndarray, str]:
    """Return features [n, d] of drawn images on a device, and the hash of their files."""
    root, encoder = DataRoot.open(folder / "root"), tiny_on(folder, device)
    jpegs = {f"train/class1/{i}.jpg": drawn(i, "JPEG") for i in range(20)}
    make_dataset(root, {**many(60), **jpegs})
    extract_dataset(drawn_manifest(), root, encoder, batch_size=8, shard_size=20, **options)
    shards = open_features(root, encoder.name, "drawn").shards
    found = np.concatenate([shard.features for shard in shards]).astype(np.float32)
    return found, hash_tree(root.features(encoder.name, "drawn"))


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("decoding", ["reference", "gpu"])
def test_an_extraction_gives_nearly_the_features_of_the_cpu(tmp_path, workers, decoding):
    for name in ("there", "here"):
        (tmp_path / name).mkdir()
    expected, _ = extracted(tmp_path / "here", "cpu")
    got, _ = extracted(tmp_path / "there", "cuda", workers=workers, decoding=decoding)
    most = 0.002 if decoding == "reference" else 0.1
    assert np.abs(got - expected).max() <= most * np.abs(expected).max()


def test_two_processes_on_the_device_give_the_bytes_of_one(tmp_path):
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
    engine = DeviceEngine(partial(tiny_on, tmp_path / "two"), ["cuda:0", "cuda:0"], workers=1)
    try:
        _, two = extracted(tmp_path / "two", "cuda", engine=engine)
    finally:
        engine.close()
    assert extracted(tmp_path / "one", "cuda")[1] == two
