"""Extraction on a simulated CUDA device: the same features, and the host waits for nothing."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from encode_tools import drawn_manifest, make_dataset, many, tiny_encoder
from simulated_cuda import CUDA, Device, simulated_cuda

from autods.core import transfer
from autods.core.files import hash_tree
from autods.core.root import DataRoot
from autods.encode.encoders.computing import TorchEncoder
from autods.encode.encoders.open_clip import OpenClipEncoder
from autods.encode.extract import extract_dataset
from autods.errors import EncoderError

# once for each process: the numbers that bytes stand for
READS = {"autods.encode.inputs.Inputs._table"}


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> OpenClipEncoder:
    return tiny_encoder(tmp_path_factory.mktemp("config"))


class Pooled(torch.nn.Module):
    """A model of one product, of which few operations say how far it is."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("weights", torch.randn(48, 8, generator=torch.Generator()))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        cells = torch.nn.functional.adaptive_avg_pool2d(images, 4)
        return cells.flatten(1) @ self.weights


@pytest.fixture
def device(monkeypatch: pytest.MonkeyPatch) -> Iterator[Device]:
    monkeypatch.setattr(transfer, "_streams", {})
    with simulated_cuda() as simulated:
        yield simulated


def pooled(encoder: OpenClipEncoder) -> TorchEncoder:
    model = Pooled()
    place = torch.device("cpu")
    return TorchEncoder(
        "pooled.random", 8, encoder.transform, encoder.provenance, model, place, torch.float32
    )


def on_device(encoder: TorchEncoder) -> TorchEncoder:
    return replace(encoder, model=encoder.model.to(CUDA), device=CUDA)


def features(folder: Path, encoder: TorchEncoder, count: int = 40) -> str:
    root = DataRoot.open(folder)
    make_dataset(root, many(count))
    extract_dataset(drawn_manifest(), root, encoder, batch_size=8, shard_size=20)
    return hash_tree(root.features(encoder.name, "drawn"))


def test_features_are_those_of_the_cpu_and_nothing_waits(encoder, tmp_path, device):
    expected = features(tmp_path / "cpu", pooled(encoder))
    device.waits.clear()
    other = on_device(pooled(encoder))
    device.waits.clear()
    assert features(tmp_path / "cuda", other) == expected
    assert {function for function, _ in device.waits} <= READS
    assert max(device.waits.values()) == 1


def test_features_are_read_while_the_next_batch_is_encoded(encoder, tmp_path, device, monkeypatch):
    order: list[str] = []
    encode, result = TorchEncoder.encode_on_device, transfer.Read.result
    noted = lambda self, batch: (order.append("encode"), encode(self, batch))[1]  # noqa: E731
    monkeypatch.setattr(TorchEncoder, "encode_on_device", noted)
    monkeypatch.setattr(
        transfer.Read, "result", lambda self: (order.append("read"), result(self))[1]
    )
    features(tmp_path, on_device(pooled(encoder)), count=25)  # 20 of them to train with
    assert order[:6] == ["encode", "encode", "read", "encode", "read", "read"]


def test_an_encoder_with_a_way_of_its_own_to_encode_is_asked_on_a_device_too(
    encoder, tmp_path, device
):
    class Constant(TorchEncoder):
        def encode(self, batch: torch.Tensor) -> np.ndarray:
            return np.full((len(batch), self.dim), np.inf, np.float32)

    own = on_device(pooled(encoder))
    own = Constant(**{name: getattr(own, name) for name in own.__dataclass_fields__})
    with pytest.raises(EncoderError, match="not finite"):
        features(tmp_path, own)
