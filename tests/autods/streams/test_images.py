"""Images of tasks and datasets: the rows, order, labels and pixels of the features."""

import io
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from archives import folders_layout, make_folder, make_tar, make_zip, manifest_of, placed
from encode_tools import drawn, tiny_encoder
from PIL import Image
from torch.utils.data import DataLoader
from torchvision.transforms import Compose, PILToTensor, Resize

from autods.core.progress import Silent
from autods.core.root import DataRoot
from autods.encode.decode import load_image
from autods.encode.encoders.open_clip import OpenClipEncoder
from autods.encode.extract import extract_dataset
from autods.errors import (
    ContainerError,
    DamagedMember,
    FeatureMismatch,
    ImagesMissing,
    IndexMissing,
    UnknownName,
    UsageError,
)
from autods.features.sets import open_features
from autods.index.samples import index_dataset
from autods.interop.imports.from_files import import_files
from autods.manifest.schema import Manifest
from autods.streams.images import ImageSet, open_images
from autods.streams.open import open_stream
from autods.streams.stream import Stream
from autods.streams.synthetic import synthetic_stream

KINDS = [("PNG", "L"), ("PNG", "P"), ("PNG", "RGBA"), ("JPEG", "CMYK"), ("JPEG", "RGB"),
         ("GIF", "P"), ("PNG", "LA"), ("PNG", "1"), ("BMP", "RGB"), ("TIFF", "RGB")]  # fmt: skip
SMALL = Compose([Resize((16, 16)), PILToTensor()])
BATCH = 8


def sixteen_bits() -> bytes:
    values = np.linspace(0, 65535, 24 * 30).reshape(24, 30).astype(np.uint16)
    buffer = io.BytesIO()
    Image.fromarray(values).save(buffer, "PNG")
    return buffer.getvalue()


def files(n: int = 60) -> dict[str, bytes]:
    """Images of five classes and many kinds: one of 16 bits, one broken, one twice, one in test."""
    found = {}
    for i in range(n):
        fmt, mode = KINDS[i % len(KINDS)]
        part = "test" if i % 4 == 3 else "train"
        found[f"{part}/class{i % 5}/{i:03d}.{fmt.lower()}"] = drawn(i, fmt, mode)
    found["train/class0/grey.png"] = sixteen_bits()
    found["train/class1/broken.png"] = drawn(1)[:200]
    found["train/class2/again.png"] = found["train/class2/002.png"]
    found["train/class3/tested.png"] = found["test/class3/003.jpeg"]
    return found


def pack(kind: str, folder: Path) -> Path:
    if kind == "folder":
        return make_folder(folder / "images", files())
    if kind.startswith("zip"):
        how = zipfile.ZIP_DEFLATED if kind == "zip, deflated" else zipfile.ZIP_STORED
        return make_zip(folder / "images.zip", files(), how)
    return make_tar(folder / kind, files(), "w:gz" if kind.endswith("gz") else "w")


def indexed(kind: str, folder: Path) -> tuple[DataRoot, Manifest]:
    root, source = DataRoot.open(folder / "root"), pack(kind, folder)
    layout = folders_layout(source.name, "{split}/{class}/*", split="{split}")
    manifest = manifest_of({source.name: source}, layout, splits={"clean": {"rule": "official"}})
    manifest = placed(root, manifest, {source.name: source})
    index_dataset(manifest, root, Silent())
    return root, manifest


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> OpenClipEncoder:
    return tiny_encoder(tmp_path_factory.mktemp("config"))


def extracted(kind: str, folder: Path, encoder: OpenClipEncoder) -> DataRoot:
    root, manifest = indexed(kind, folder)
    extract_dataset(manifest, root, encoder, batch_size=BATCH, shard_size=20)
    return root


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory, encoder: OpenClipEncoder) -> DataRoot:
    return extracted("zip", tmp_path_factory.mktemp("zip"), encoder)


def opened(root: DataRoot, encoder: OpenClipEncoder, **options: object) -> Stream:
    return open_stream("things", root, encoder.name, normalize="none", **options)


def encoded(images: ImageSet, encoder: OpenClipEncoder) -> np.ndarray:
    """Return the features of images that went through the encoder's own transform, float16."""
    found = []
    for x, _ in images.batches(BATCH):
        full = torch.zeros((BATCH, *x.shape[1:]))
        full[: len(x)] = x
        found.append(encoder.encode(full)[: len(x)])
    return np.concatenate(found).astype(np.float16)


@pytest.mark.parametrize("kind", ["zip", "zip, deflated", "images.tar", "images.tar.gz", "folder"])
def test_images_have_the_rows_order_labels_and_bytes_of_the_features(kind, tmp_path, encoder):
    root = extracted(kind, tmp_path, encoder)
    stored = open_features(root, encoder.name, "things")
    samples = np.concatenate([shard.sample for shard in stored.shards])
    hashes = dict(zip(samples.tolist(), stored.content_hash.tolist(), strict=True))
    tasks = opened(root, encoder, classes_per_task=2, order=1).tasks
    assert len(tasks) == 2
    for task in tasks:
        for split in ("train", "test"):
            features = getattr(task, split)
            images = task.images(split, encoder.transform, rgb=False)
            assert np.array_equal(images.labels, features.labels)
            assert (images.class_names, images.class_offset) == (
                task.class_names,
                task.class_offset,
            )
            assert [images.content_hash(i) for i in range(len(images))] == [
                hashes[sample] for sample in images.sample.tolist()
            ]
            assert np.array_equal(encoded(images, encoder), features.features)
            named = [task.class_names[y - task.class_offset] for y in images.targets]
            assert named == [images.path(i).split("/")[-2] for i in range(len(images))]
    paths = {task.images().path(i) for task in tasks for i in range(len(task.train))}
    assert not [p for p in paths if p.endswith(("broken.png", "again.png", "tested.png"))]
    assert any(p.endswith("grey.png") for p in paths)


def test_images_of_every_kind_become_rgb_after_the_reading_of_extraction(root, encoder):
    modes = set()
    for task in opened(root, encoder).tasks:
        images, stored = task.images(), task.images(rgb=False)
        for i, (image, label) in enumerate(images):
            read, mode = load_image(images.read(i))
            modes.add(mode)
            assert image.mode == "RGB"
            assert image.tobytes() == read.convert("RGB").tobytes()
            assert stored[i][0].mode == read.mode
            assert label == images.labels[i]
            if images.path(i).endswith("grey.png"):
                values = np.asarray(image)
                assert (values.min(), values.max()) == (0, 255)
                assert len(np.unique(values)) > 200
    assert {"L", "P", "RGBA", "CMYK", "RGB", "LA", "1"} <= modes


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_a_loader_with_two_workers_reads_the_same_by_every_start_method(root, encoder, method):
    images = opened(root, encoder).tasks[0].images("train", SMALL)
    here = [images[i] for i in range(len(images))]  # the archive is open in this process
    loader = DataLoader(images, 7, num_workers=2, multiprocessing_context=method)
    pixels, labels = (torch.cat(parts) for parts in zip(*loader, strict=True))
    assert torch.equal(pixels, torch.stack([image for image, _ in here]))
    assert labels.tolist() == [label for _, label in here]


def test_workers_of_our_own_give_the_same_images_one_by_one_and_in_batches(root, encoder):
    task = opened(root, encoder).tasks[0]
    here, there = task.images("train", SMALL), task.images("train", SMALL, workers=2)
    for (image, label), (other, same) in zip(here, there, strict=True):
        assert torch.equal(image, other)
        assert label == same
    for (x, y), (other, same) in zip(here.batches(16, 3), there.batches(16, 3), strict=True):
        assert torch.equal(x, other)
        assert torch.equal(y, same)
    assert [image.tobytes() for image, _ in task.images(workers=1)] == [
        image.tobytes() for image, _ in task.images()
    ]


def test_a_seed_gives_images_the_order_it_gives_features(root, encoder):
    task = opened(root, encoder).tasks[0]
    images = task.images("train", encoder.transform, rgb=False)
    pairs = zip(images.batches(BATCH, (4, 1)), task.train.batches(BATCH, (4, 1)), strict=True)
    for (pixels, label), (x, y) in pairs:
        assert torch.equal(label, y)
        if len(pixels) == BATCH:
            assert np.array_equal(encoder.encode(pixels).astype(np.float16), x.numpy())


def test_a_set_takes_only_its_own_rows_to_another_process(root, encoder):
    tasks = opened(root, encoder, classes_per_task=2).tasks
    images = tasks[1].images("test")
    copy = pickle.loads(pickle.dumps(images))
    assert [copy.path(i) for i in range(len(copy))] == [images.path(i) for i in range(len(images))]
    assert copy[3][0].tobytes() == images[3][0].tobytes()
    assert len(copy._files._table) == len(copy) < len(images._files._table)


def test_a_stream_without_an_index_opens_and_only_its_images_are_missing(tmp_path, encoder):
    root = extracted("zip", tmp_path, encoder)
    index = root.samples("things")
    whole = index.read_bytes()
    index.unlink()
    task = opened(root, encoder).tasks[0]
    assert len(task.train.features) == len(task.train)
    with pytest.raises(IndexMissing, match="autods index things"):
        task.images()
    index.write_bytes(whole)
    root.archive("things", "images.zip").unlink()
    with pytest.raises(ContainerError, match=r"images\.zip"):
        next(iter(task.images()))


def test_images_of_another_index_are_refused(tmp_path, encoder):
    root = extracted("zip", tmp_path / "a", encoder)
    source = make_zip(tmp_path / "images.zip", {f"{'train' if i % 2 else 'test'}/c{i % 3}/{i}.png":
                                                drawn(i) for i in range(12)})  # fmt: skip
    layout = folders_layout(source.name, "{split}/{class}/*", split="{split}")
    manifest = manifest_of({source.name: source}, layout, splits={"clean": {"rule": "official"}})
    index_dataset(placed(root, manifest, {source.name: source}), root, Silent())
    with pytest.raises(FeatureMismatch, match="no image was opened"):
        opened(root, encoder).tasks[0].images()


def test_features_without_images_say_so(tmp_path):
    with pytest.raises(ImagesMissing, match="do not come from a data root"):
        synthetic_stream(tasks=1).tasks[0].images()
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(40, 8)).astype(np.float32), np.arange(40) % 4
    (tmp_path / "npz").mkdir()
    names = [f"c{i}" for i in range(4)]
    np.savez(tmp_path / "npz" / "a.npz", x_train=x, y_train=y, x_val=x + 1, y_val=y,
             class_names=names)  # fmt: skip
    root = DataRoot.open(tmp_path / "root")
    import_files(tmp_path / "npz", root, "drawn.numbers")
    with pytest.raises(ImagesMissing, match="were imported"):
        open_stream("a", root, "drawn.numbers").tasks[0].images("test")


def test_images_of_a_dataset_need_an_index_only(tmp_path):
    root, _ = indexed("images.tar", tmp_path)
    everything = {split: open_images("things", split, root) for split in ("train", "dev", "test")}
    assert sum(map(len, everything.values())) == len(files())
    assert everything["train"].class_names == [f"class{i}" for i in range(5)]
    for images in everything.values():
        assert np.all(np.diff(images.sample) > 0)
        for i, label in enumerate(images.labels):
            assert f"class{label}/" in images.path(i)
            assert images.read(i) == files()[images.path(i).split("/", 1)[1]]
    with pytest.raises(UnknownName, match="split"):
        open_images("things", "validation", root)
    with pytest.raises(UnknownName, match="task of dataset"):
        open_images("things", "train", root, task="family")
    with pytest.raises(IndexMissing, match="not indexed"):
        open_images("nothing", "train", root)


@pytest.mark.parametrize("workers", [0, 1])
def test_an_unreadable_image_is_named_and_can_be_left_out(tmp_path, workers):
    root, _ = indexed("folder", tmp_path)
    images = open_images("things", "train", root, transform=SMALL, workers=workers)
    with pytest.raises(DamagedMember, match=r"broken\.png: sample \d+ of 'things'") as caught:
        list(images)
    assert "Traceback" not in str(caught.value)
    ((sample, reason),) = images.unreadable()
    assert "truncated" in reason
    rest = open_images("things", "train", root, transform=SMALL, leave_out=[sample])
    assert len(list(rest)) == len(images) - 1
    assert sample not in rest.sample


@pytest.mark.parametrize("workers", [0, 1])
def test_batches_of_what_cannot_be_stacked_are_wrong_usage(root, encoder, workers):
    task = opened(root, encoder).tasks[0]
    wrong: list[tuple[Callable[[Image.Image], object] | None, str]] = [
        (None, "got Image"),
        (PILToTensor(), r"got Tensor \[\d, \d+, \d+\], Tensor"),
    ]
    for transform, message in wrong:
        with pytest.raises(UsageError, match=message):
            list(task.images("train", transform, workers=workers).batches(4))
    with pytest.raises(UsageError, match="batch size"):
        next(task.images("train", SMALL).batches(0))
    with pytest.raises(UsageError, match="workers"):
        task.images(workers=-1)
    with pytest.raises(UnknownName, match="split"):
        task.images("val")
    with pytest.raises(IndexError):
        task.images()[10_000]


def test_images_that_are_elements_of_arrays_come_as_they_are(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (20, 9, 7, 3), dtype=np.uint8)
    np.save(tmp_path / "x.npy", pixels)
    np.save(tmp_path / "y.npy", np.arange(20) % 4)
    sources = {name: tmp_path / name for name in ("x.npy", "y.npy")}
    part = {"images": {"file": "x.npy", "axes": "NHWC"}, "labels": {"class": {"file": "y.npy"}}}
    layout = {"family": "arrays", "parts": [part]}
    tasks = {"class": {"classes": [f"class{i}" for i in range(4)], "keys": "index"}}
    root = DataRoot.open(tmp_path / "root")
    manifest = placed(root, manifest_of(sources, layout, tasks=tasks), sources)
    index_dataset(manifest, root, Silent())
    seen = 0
    for split in ("train", "dev", "test"):
        images = open_images("things", split, root)
        for i, (image, label) in enumerate(images):
            number = int(Path(images.path(i)).stem)
            assert np.array_equal(np.asarray(image), pixels[number])
            assert label == number % 4
            seen += 1
    assert seen == 20
