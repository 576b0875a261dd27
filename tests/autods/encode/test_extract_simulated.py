"""Extraction on a simulated CUDA device: the same features, and the host waits for nothing."""

import io
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from encode_tools import drawn, drawn_manifest, make_dataset, many, tiny_encoder
from PIL import Image
from simulated_cuda import CUDA, Device, Stream, simulated_cuda

from autods.core import transfer
from autods.core.files import hash_tree
from autods.core.root import DataRoot
from autods.encode import inputs
from autods.encode.encoders.computing import TorchEncoder
from autods.encode.encoders.open_clip import OpenClipEncoder
from autods.encode.engines.devices import _settle
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


def pooled(encoder: OpenClipEncoder, kind: torch.dtype = torch.float32) -> TorchEncoder:
    model = Pooled().to(kind)
    place = torch.device("cpu")
    return TorchEncoder(
        "pooled.random", 8, encoder.transform, encoder.provenance, model, place, kind
    )


def on_device(encoder: TorchEncoder) -> TorchEncoder:
    return replace(encoder, model=encoder.model.to(CUDA), device=CUDA)


def features(
    folder: Path,
    encoder: TorchEncoder,
    count: int = 40,
    images: Mapping[str, bytes] | None = None,
    **options: Any,
) -> str:
    root = DataRoot.open(folder)
    make_dataset(root, {**many(count), **(images or {})})
    sizes = {"batch_size": 8, "shard_size": 20, **options}
    extract_dataset(drawn_manifest(), root, encoder, **sizes)
    return hash_tree(root.features(encoder.name, "drawn"))


@pytest.mark.parametrize("kind", [torch.float32, torch.bfloat16])
def test_features_are_those_of_the_cpu_and_nothing_waits(encoder, tmp_path, device, kind):
    expected = features(tmp_path / "cpu", pooled(encoder, kind))
    other = on_device(pooled(encoder, kind))
    device.waits.clear()
    assert features(tmp_path / "cuda", other) == expected
    assert {function for function, _ in device.waits} <= READS
    assert max(device.waits.values()) == 1


def test_features_are_read_while_the_next_batch_is_encoded_be_it_of_another_shard(
    encoder, tmp_path, device, monkeypatch
):
    order: list[str] = []
    encode, result = TorchEncoder.encode_on_device, transfer.Read.result
    noted = lambda self, batch: (order.append("encode"), encode(self, batch))[1]  # noqa: E731
    monkeypatch.setattr(TorchEncoder, "encode_on_device", noted)
    monkeypatch.setattr(
        transfer.Read, "result", lambda self: (order.append("read"), result(self))[1]
    )
    features(tmp_path, on_device(pooled(encoder)), count=25, shard_size=10)
    assert order.count("encode") == 5  # in three shards
    assert order == ["encode", *["encode", "read"] * 4, "read"]


@pytest.mark.parametrize("size", [1, 8, 9])
def test_shards_of_any_size_are_those_of_the_cpu_one_without_a_readable_image_included(
    encoder, tmp_path, device, size
):
    images = {"train/class0/0000bad.png": drawn(1)[:90]}
    other = on_device(pooled(encoder))
    hashes = {
        features(tmp_path / one.device.type, one, 11, images, shard_size=size)
        for one in (pooled(encoder), other)
    }
    assert len(hashes) == 1


def photo(seed: int) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (50, 70, 3), np.uint8)).save(
        buffer, "JPEG"
    )
    return buffer.getvalue()


class Streams:
    """What happens on which stream, in order; the one that computes is number 0."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.order: list[tuple[str, int]] = []
        self.stack = [self.make()]
        patch.setattr(torch.cuda, "Stream", self.make)
        patch.setattr(torch.cuda, "current_stream", lambda *_: self.stack[-1])
        patch.setattr(torch.cuda, "stream", self.within)
        patch.setattr(torch.ops.image, "decode_jpegs_cuda", self.decode, raising=False)

    def make(self, *_: Any) -> Stream:
        stream, number = Stream(), len(self.order) and max(n for _, n in self.order) + 1
        self.order.append(("made", number))
        stream.number = number
        stream.synchronize = lambda: self.order.append(("drained", number))
        stream.wait_stream = lambda _: self.order.append(("waits", number))
        return stream

    @contextmanager
    def within(self, stream: Stream) -> Iterator[None]:
        self.stack.append(stream)
        yield
        self.stack.pop()

    def decode(self, data: list[torch.Tensor], mode: int, _: torch.device) -> list[torch.Tensor]:
        self.order.append(("decode", self.stack[-1].number))
        return [torch.ops.image.decode_jpeg(one, mode, False).to(CUDA) for one in data]


def test_jpegs_are_decoded_into_memory_that_nothing_queued_still_reads(
    encoder, tmp_path, device, monkeypatch
):
    images = {f"train/class1/{i}.jpg": photo(i) for i in range(25)}
    expected = features(tmp_path / "cpu", pooled(encoder), 6, images, decoding="gpu")
    streams = Streams(monkeypatch)
    other = on_device(pooled(encoder))
    assert features(tmp_path / "cuda", other, 6, images, decoding="gpu") == expected
    calls = [at for at, (what, _) in enumerate(streams.order) if what == "decode"]
    assert len(calls) > 3  # the first one tries whether it can be done
    assert all(streams.order[at - 1] == ("drained", streams.order[at][1]) for at in calls)
    assert all(streams.order[at][1] != 0 for at in calls[1:])  # the encoder is not waited for
    assert all(streams.order[at + 1] == ("waits", 0) for at in calls[1:])  # but it waits


def test_a_batch_of_jpegs_alone_sends_no_pixels(encoder, tmp_path, device, monkeypatch):
    images = {f"{'test' if i < 3 else 'train'}/class{i % 2}/{i}.jpg": photo(i) for i in range(20)}
    Streams(monkeypatch)
    monkeypatch.setattr(inputs, "streamed", lambda *_: pytest.fail("pixels were sent"))
    features(tmp_path, on_device(pooled(encoder)), 0, images, decoding="gpu")


def test_a_torchvision_that_cannot_decode_on_the_device_is_told_before_anything_is_done(
    encoder, tmp_path, device, monkeypatch
):
    def refuse(*_: Any) -> None:
        raise RuntimeError("decode_jpegs_cuda: torchvision not compiled with nvJPEG support")

    Streams(monkeypatch)
    monkeypatch.setattr(torch.ops.image, "decode_jpegs_cuda", refuse)
    with pytest.raises(EncoderError, match=r"JPEG files on cuda:0: .*not compiled with nvJPEG"):
        features(tmp_path, on_device(pooled(encoder)), decoding="gpu")


def test_the_process_of_a_device_takes_memory_of_that_one_alone(device, monkeypatch):
    chosen: list[torch.device] = []
    monkeypatch.setattr(torch.cuda, "set_device", chosen.append)
    _settle("cuda:0", 3)
    _settle("cuda", 3)
    assert chosen == [CUDA]


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
