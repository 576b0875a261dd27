"""How shards are made: cut preprocessing, order of reading, full batches, stages, decoding."""

import dataclasses
import io
import itertools
import json
import multiprocessing
import re
import zipfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import encode_tools
import numpy as np
import pyarrow as pa
import pytest
import torch
from archives import folders_layout, make_zip, manifest_of, placed
from encode_tools import drawn, make_dataset, many
from hypothesis import given, settings
from hypothesis import strategies as st
from open_clip.transform import PreprocessCfg, image_transform_v2
from PIL import Image
from torchvision.transforms import CenterCrop, Compose, Normalize, Resize, ToTensor

from autods.containers import MemberReader
from autods.containers.locations import Location
from autods.core.cores import usable_cores
from autods.core.files import hash_tree
from autods.core.processes import choose_workers
from autods.core.progress import Silent, console_progress
from autods.core.root import DataRoot
from autods.encode import loader
from autods.encode.decode import content_hash, is_plain_jpeg
from autods.encode.encoders.open_clip import OpenClipEncoder
from autods.encode.engines import local
from autods.encode.engines.local import make_shards
from autods.encode.extract import ExtractOutcome, extract_dataset, of_run, write_record
from autods.encode.jobs import Jobs, reading_order
from autods.encode.jpegs import PROBES
from autods.encode.plan import digest_samples, plan_shards, split_codes
from autods.encode.preprocessing import MODES, cut
from autods.encode.timings import Processes, Timings
from autods.errors import EncoderError, FeatureMismatch, UnknownName
from autods.features.sets import open_features
from autods.index.samples import index_dataset, load_samples
from autods.manifest.schema import Manifest


def run(manifest: Manifest, root: DataRoot, encoder: object, **options: object) -> ExtractOutcome:
    return extract_dataset(
        manifest, root, encoder, **{"batch_size": 8, "shard_size": 30, **options}
    )


def features_of(root: DataRoot, encoder: OpenClipEncoder, name: str = "drawn") -> dict:
    """Return path to feature and hash of every image."""
    stored, paths = open_features(root, encoder.name, name), load_samples(root, name).table["path"]
    return {
        paths[int(row)].as_py(): (feature.tobytes(), int(hashed))
        for shard in stored.shards
        for row, feature, hashed in zip(
            shard.sample, shard.features, shard.content_hash, strict=True
        )
    }


# Preprocessing in two halves

CONFIGS = [
    {"size": 224},
    {"size": (96, 64)},
    {"size": 48, "resize_mode": "longest", "fill_color": 7},
    {"size": 48, "resize_mode": "squash", "interpolation": "bilinear"},
    {"size": 48, "mean": (0.5, 0.5, 0.5), "std": (0.5, 0.25, 0.3)},
]


@pytest.mark.parametrize("config", CONFIGS)
@pytest.mark.parametrize("mode", MODES)
def test_both_halves_of_the_preprocessing_give_the_bits_of_the_whole(config, mode):
    whole = image_transform_v2(PreprocessCfg(**config), is_train=False)
    both = cut(whole)
    assert both.table is not None and both.dtype == np.uint8
    for seed, size in enumerate([(300, 200), (31, 90), (1, 1), (5, 400)]):
        noise = np.random.default_rng(seed).integers(0, 256, (*size, 3), np.uint8)
        image = Image.fromarray(noise).convert(mode)
        pixels = both.pixels(image)[None].copy()
        batch = np.full((2, 3, *both.size), 9, np.float32)
        both.fill(batch, pixels)
        assert np.array_equal(batch[0], whole(image).numpy())
        assert not batch[1].any()
        for kind in (torch.float32, torch.bfloat16):
            there = torch.full((2, 3, *both.size), 9, dtype=kind)
            both.fill_there(there, torch.from_numpy(pixels), torch.from_numpy(both.table).to(kind))
            assert torch.equal(there, torch.from_numpy(batch).to(kind))


@given(st.integers(0, 2**32 - 1), st.integers(1, 70), st.integers(1, 70))
@settings(max_examples=30, deadline=None)
def test_whatever_the_image_the_halves_agree_with_the_whole(seed, width, height):
    whole = image_transform_v2(PreprocessCfg(size=32), is_train=False)
    both = cut(whole)
    noise = np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)
    image = Image.fromarray(noise)
    batch = np.empty((1, 3, 32, 32), np.float32)
    both.fill(batch, both.pixels(image)[None])
    assert np.array_equal(batch[0], whole(image).numpy())


class Halved:
    """A transform of another make."""

    def __call__(self, image):
        return torch.from_numpy(
            np.asarray(image.convert("RGB").resize((32, 32)), np.float32) / 2
        ).permute(2, 0, 1)


NORMALIZE = Normalize((0.5,) * 3, (0.2,) * 3)


class Louder(ToTensor):
    """Gives other numbers than its class, but not for every image."""

    def __call__(self, image):
        found = super().__call__(image)
        return found + 1.0 if found.shape[-1] > 1 else found


@pytest.mark.parametrize(
    "transform",
    [
        Halved(),
        Compose([Resize(32), CenterCrop(32), ToTensor(), NORMALIZE]),  # RGB is not assured
        Compose([Resize((32, 32)), lambda i: i.convert("RGB"), Louder(), NORMALIZE]),
        Compose([Resize((32, 32)), lambda i: i.convert("RGB"), ToTensor()]),
    ],
    ids=["no steps", "no RGB", "other numbers", "not normalised"],
)
def test_a_transform_that_cannot_be_cut_is_left_whole(transform):
    pre = cut(transform)
    assert pre.table is None and pre.first is transform
    assert (pre.shape, pre.dtype) == ((3, 32, 32), np.float32)


@pytest.mark.parametrize("workers", [0, 2])
def test_an_encoder_with_a_transform_of_its_own_gets_what_that_gives(root, encoder, workers):
    own = dataclasses.replace(encoder, transform=Halved())
    run(make_dataset(root, many(20)), root, own, workers=workers)
    index = load_samples(root, "drawn")
    for shard in open_features(root, own.name, "drawn").shards:
        for row, feature in zip(shard.sample, shard.features, strict=True):
            data = MemberReader(root, "drawn").read(*index.locate(int(row)))
            pixels = Halved()(Image.open(io.BytesIO(data)))[None]
            expected = own.encode(torch.cat([pixels, torch.zeros(7, 3, 32, 32)]))[0]
            assert np.array_equal(feature, expected.astype(np.float16))


class Growing:
    """A transform whose output has the size of the image."""

    def __call__(self, image):
        return torch.zeros(3, *image.size)


def test_a_transform_of_no_fixed_size_is_an_error_that_names_the_image(root, encoder):
    manifest = make_dataset(root, many(8))
    with pytest.raises(EncoderError, match=r"images/.*png: its preprocessing failed: expected"):
        run(manifest, root, dataclasses.replace(encoder, transform=Growing()))


# Order of reading


def table(rows: list[tuple[str, str, int]]) -> pa.Table:
    containers, members, offsets = zip(*rows, strict=True)
    columns = {"container": containers, "member": members, "offset": offsets}
    return pa.table({**columns, "size": [1] * len(rows)})


def test_images_are_read_file_by_file_and_from_front_to_back():
    inner = Location.INNER.base
    rows = [
        ("b.zip", "1", -2 - 900),  # deflated
        ("a.zip", "2", 500),
        ("b.zip", "3", 30),
        ("a.zip", "4", -2 - 70),
        ("c.zip", "y.zip!/5", inner + 10),
        ("c.zip", "x.zip!/6", inner + 40),
        ("c.zip", "y.zip!/7", inner + 5),
        ("c.zip", "x.zip!/8", -2 - (inner + 30)),
        ("d", "9", -1),
        ("d", "0", -1),
    ]
    order = [rows[i][1][-1] for i in reading_order(table(rows))]
    assert order == ["3", "1", "4", "2", "8", "6", "7", "5", "9", "0"]


def zipped(root: DataRoot, folder: Path, names: list[str], name: str) -> Manifest:
    """Index a stored zip whose members lie in the order of ``names``."""
    files = {n: drawn(int(Path(n).stem), "BMP") for n in names}
    source = make_zip(folder / name / "a.zip", files, zipfile.ZIP_STORED)
    manifest = placed(
        root, manifest_of({"a.zip": source}, folders_layout("a.zip"), name), {"a.zip": source}
    )
    index_dataset(manifest, root, Silent())
    return manifest


def test_the_order_in_an_archive_is_that_of_reading_only(root, encoder, tmp_path, monkeypatch):
    names = [f"{i % 3}/{i:04d}.bmp" for i in range(70)]
    mixed = [names[i] for i in np.random.default_rng(0).permutation(70)]
    manifests = []
    for name, order in (("sorted", names), ("mixed", mixed)):
        (tmp_path / name).mkdir()
        manifests.append(zipped(root, tmp_path, order, name))
    seen: list[int] = []
    read = MemberReader.read

    def watched(self, container, member, offset, size, crc32):
        seen.append(offset)
        return read(self, container, member, offset, size, crc32)

    monkeypatch.setattr(MemberReader, "read", watched)
    for manifest in manifests:
        seen.clear()
        run(manifest, root, encoder, shard_size=1000)
        sizes = [len(s) for s in open_features(root, encoder.name, manifest.name).shards]
        parts = np.split(np.array(seen), np.cumsum(sizes)[:-1])
        assert len(seen) == 70 and all((np.diff(part) > 0).all() for part in parts)
    one, other = (features_of(root, encoder, manifest.name) for manifest in manifests)
    assert one == other
    for shard in open_features(root, encoder.name, "mixed").shards:
        assert (np.diff(shard.sample) > 0).all()


# Full batches


def test_every_batch_is_filled_up_so_that_neighbours_change_no_feature(root, encoder, tmp_path):
    shapes = set()

    class Watched(OpenClipEncoder):
        def encode(self, batch):
            shapes.add(tuple(batch.shape))
            return super().encode(batch)

    run(make_dataset(root, many(101)), root, Watched(**vars(encoder)))
    assert shapes == {(8, 3, 32, 32)}
    other = DataRoot.open(tmp_path / "other")
    fewer = {name: data for i, (name, data) in enumerate(many(101).items()) if i % 3}
    run(make_dataset(other, fewer), other, encoder, shard_size=11)
    features = features_of(root, encoder)
    assert features_of(other, encoder).items() <= features.items()


# Jobs


def jobs_of(root: DataRoot, encoder: OpenClipEncoder, **changes: object) -> Jobs:
    samples = load_samples(root, "drawn")
    provenance = {**encoder.provenance, **of_run(8, "reference"), **changes}
    plans = plan_shards(samples, root, encoder.name, 30)
    return Jobs(root, samples, plans, provenance, digest_samples(samples), split_codes(samples))


def make_first(root: DataRoot, config: Path) -> None:
    torch.set_num_threads(1)  # a forked process has none of its parent's threads
    encoder = encode_tools.tiny_encoder(config)
    list(make_shards([next(iter(jobs_of(root, encoder)))], encoder))


def test_processes_that_make_the_same_shard_leave_it_whole_and_no_other(root, encoder, tmp_path):
    manifest = make_dataset(root, many(60))
    context = multiprocessing.get_context("fork")
    children = [context.Process(target=make_first, args=(root, tmp_path)) for _ in range(3)]
    for child in children:
        child.start()
    for child in children:
        child.join(60)
    assert [child.exitcode for child in children] == [0, 0, 0]
    folder = root.features(encoder.name, "drawn")
    (only,) = folder.iterdir()
    first = only.read_bytes()
    assert only.name == "train-00000-of-00002.h5"
    (folder / f"{only.name}.elsewhere-17").write_bytes(b"left by a kill")
    assert run(manifest, root, encoder).kept == 1
    assert only.read_bytes() == first
    assert not list(folder.glob("*.h5.*"))


def test_a_job_is_not_done_with_an_encoder_that_differs_from_the_one_it_is_for(root, encoder):
    make_dataset(root, many(20))
    job = next(iter(jobs_of(root, encoder, torch="0.1")))
    with pytest.raises(FeatureMismatch, match=r"expected torch 0\.1, got"):
        list(make_shards([job], encoder))
    assert not list(root.features(encoder.name, "drawn").glob("*"))


def test_a_job_takes_only_what_its_own_samples_need(root, encoder):
    make_dataset(root, many(100))
    for job in jobs_of(root, encoder):
        assert len(job.addresses) == len(job) == len(job.labels["object"]) <= 30
        buffers = sum(column.nbytes for column in job.addresses.columns)
        assert buffers < 100 * len(job)


def test_the_digest_of_an_index_is_that_of_its_texts_joined_whatever_the_parts(root, monkeypatch):
    make_dataset(root, many(30))
    samples = load_samples(root, "drawn")
    whole = digest_samples(samples)
    monkeypatch.setattr("autods.encode.plan.BLOCK", 7)
    assert digest_samples(samples) == whole


# Timings


def test_a_run_says_where_its_time_went_and_what_holds_it_up(root, encoder, capsys, tmp_path):
    progress = console_progress(interval=0.0)
    outcome = run(make_dataset(root, many(60)), root, encoder, progress=progress)
    timings = outcome.timings
    assert timings.images == 60
    for name in ("read", "decode", "start", "wait", "encode", "write"):
        assert getattr(timings, name) > 0, name
    told = capsys.readouterr().err
    assert re.search(r"of 60 images, [\d.]+ s; decode [\d,]+/s, encode [\d,]+/s, encoder", told)
    assert re.search(r"each stage alone: read [\d,]+, decode .*, write [\d,]+ images/s; ", told)
    assert outcome.bottleneck in told
    write_record(root, [outcome])
    record = json.loads(root.extract_record().read_text("utf-8"))["datasets"]["drawn"]
    assert record["images"] == 60 and record["bottleneck"] == outcome.bottleneck
    assert record["stages"]["seconds"]["encode"] == round(timings.encode, 3)
    again = run(make_dataset(root, {}), root, encoder)
    assert again.timings == Timings() and again.bottleneck == ""


@pytest.mark.parametrize(
    ("timings", "workers", "said"),
    [
        (Timings(9, decode=4, wait=4, encode=5), 1, "decoding is the bottleneck: "
         "the encoder waited 44% of the time; add --workers"),
        (Timings(9, decode=4, wait=4, encode=5), 8, "decoding is the bottleneck: "
         "the encoder waited 44% of the time, and all 8 cores decode"),
        (Timings(9, read=9, decode=4, wait=4, encode=5), 1, "reading is the bottleneck: "
         "the encoder waited 44% of the time; use a faster disk for the archives"),
        (Timings(9, wait=0.2, encode=5, stall=3), 1, "writing is the bottleneck: "
         "the encoder waited 37% of the time for the disk; use a faster one for the features"),
        (Timings(9, wait=0.2, encode=5, jpegs=3), 1, "decoding on the GPU is the bottleneck: it "
         "took 60% of the encoder's time; leave out --gpu-decode where many cores can decode"),
        (Timings(9, start=9, wait=0.2, encode=5), 1, "the encoder is the bottleneck: it waited 4% "
         "of the time"),
    ],
)  # fmt: skip
def test_the_bottleneck_is_named_with_what_to_do(timings, workers, said):
    assert timings.bottleneck(Processes(workers), cores=8) == said


def test_stages_add_up_and_rates_are_those_of_all_processes_together():
    both = Timings(10, decode=4.0, encode=1.0) + Timings(30, decode=4.0, encode=1.0, wait=2.0)
    assert both == Timings(40, decode=8.0, encode=2.0, wait=2.0)
    assert both.rates(Processes(4)) == {"decode": 20.0, "encode": 20.0}
    assert both.rates(Processes(0, encoders=3)) == {"decode": 15.0, "encode": 60.0}
    assert both.waited == 0.5
    assert both.line(Processes(4)) == "decode 20/s, encode 20/s, encoder waits 50%"
    assert Timings().line(Processes(4)) == ""


def test_workers_are_as_many_as_cores_and_none_for_a_few_images():
    cores = min(32, usable_cores())
    assert choose_workers(10) == 0
    assert choose_workers(10_000) == cores
    assert choose_workers(10_000, processes=2) == max(1, cores // 2)


@pytest.mark.parametrize(("cores", "expected"), [(3, 3), (64, 5)])
def test_an_encoder_has_the_threads_of_torch_but_no_more_than_usable_cores(
    monkeypatch, cores, expected
):
    monkeypatch.setattr(local, "usable_cores", lambda: cores)
    monkeypatch.setattr(local, "make_shards", lambda *_: iter([torch.get_num_threads()]))
    before = torch.get_num_threads()
    torch.set_num_threads(5)
    try:
        engine: Any = local.LocalEngine(None, workers=0)
        assert list(engine(SimpleNamespace(images=9), print)) == [expected]
        assert torch.get_num_threads() == 5
    finally:
        torch.set_num_threads(before)


# Other ways of decoding


def photo(seed: int, fmt: str = "JPEG", size: tuple[int, int] = (300, 200)) -> bytes:
    """Return a smooth picture, large for the tiny encoder."""
    coarse = np.random.default_rng(seed).integers(0, 256, (9, 12, 3), np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(coarse).resize(size, Image.Resampling.BICUBIC).save(buffer, fmt)
    return buffer.getvalue()


def photos(n: int) -> dict[str, bytes]:
    return {f"{'test' if i % 5 == 4 else 'train'}/class{i % 4}/{i:04d}.jpg": photo(i)
            for i in range(n)}  # fmt: skip


def cosines(root: DataRoot, other: DataRoot, encoder: OpenClipEncoder) -> np.ndarray:
    """Return the cosine between the features of each image under two roots."""
    one, two = (features_of(place, encoder) for place in (root, other))
    pairs = [(np.frombuffer(one[k][0], np.float16), np.frombuffer(two[k][0], np.float16))
             for k in one]  # fmt: skip
    a, b = (np.array(side, np.float64) for side in zip(*pairs, strict=True))
    return (a * b).sum(1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)


@pytest.mark.parametrize("decoding", ["draft", "gpu"])
@pytest.mark.parametrize("workers", [0, 1])
def test_other_ways_of_decoding_give_nearly_the_same_features_and_are_recorded(
    root, encoder, tmp_path, decoding, workers
):
    other = DataRoot.open(tmp_path / "other")
    images = photos(30)
    run(make_dataset(root, images), root, encoder)
    manifest = make_dataset(other, images)
    outcome = run(manifest, other, encoder, decoding=decoding, workers=workers)
    info = open_features(other, encoder.name, "drawn").info
    assert info.encoder["decoding"] == decoding
    assert (0 < outcome.timings.jpegs < outcome.timings.encode) == (decoding == "gpu")
    found = cosines(root, other, encoder)
    assert 0.999 < found.min() < 1 - 1e-9


@pytest.mark.parametrize("decoding", ["draft", "gpu"])
def test_features_of_different_decoding_never_mix(root, encoder, decoding):
    manifest = make_dataset(root, photos(30))
    run(manifest, root, encoder)
    before = hash_tree(root.features(encoder.name, "drawn"))
    with pytest.raises(FeatureMismatch, match=f"encoder's decoding {decoding}, got reference"):
        run(manifest, root, encoder, decoding=decoding)
    assert hash_tree(root.features(encoder.name, "drawn")) == before


def test_images_that_a_gpu_does_not_decode_are_decoded_and_judged_as_ever(root, encoder, tmp_path):
    images = {
        **{f"train/a/{i}.jpg": photo(i) for i in range(200)},
        "train/a/x.png": drawn(1),
        "train/b/cmyk.jpg": drawn(3, "JPEG", "CMYK"),
        "train/b/zero.jpg": photo(5)[:2] + b"\0" * 40,
        "test/b/y.png": drawn(2),
        "test/a/z.png": drawn(4),
    }
    other = DataRoot.open(tmp_path / "other")
    outcome = run(make_dataset(root, images), root, encoder)
    strange = run(make_dataset(other, images), other, encoder, decoding="gpu")
    assert strange.unreadable == outcome.unreadable and len(outcome.unreadable) == 1
    one, two = features_of(root, encoder), features_of(other, encoder)
    for name in ("images/train/a/x.png", "images/train/b/cmyk.jpg", "images/test/b/y.png"):
        assert one[name] == two[name]


def test_a_jpeg_that_the_gpu_refuses_is_judged_by_pil(root, encoder, monkeypatch):
    good, bad = photo(1), photo(2)[:300]  # cut off
    images = {f"train/a/{i}.jpg": photo(i) for i in range(200)}
    images |= {"train/b/bad.jpg": bad, "train/b/good.jpg": good}
    images |= {"test/a/x.png": drawn(1), "test/b/y.png": drawn(2)}
    decode = torch.ops.image.decode_jpeg

    def strict(data, *options):
        if len(data) == 300:
            raise RuntimeError("nvjpeg says no")
        return decode(data, *options)

    monkeypatch.setattr(torch.ops.image, "decode_jpeg", strict)
    monkeypatch.setattr(
        loader, "is_plain_jpeg", lambda data: len(data) == 300 or is_plain_jpeg(data)
    )
    outcome = run(make_dataset(root, images), root, encoder, decoding="gpu")
    ((_, path, reason),) = outcome.unreadable
    assert path == "images/train/b/bad.jpg" and "truncated" in reason.lower()
    assert features_of(root, encoder)["images/train/b/good.jpg"][1] == content_hash(good)


def test_a_gpu_without_memory_for_an_image_ends_the_run_and_leaves_none_to_another_decoder(
    root, encoder, monkeypatch
):
    decode, calls = torch.ops.image.decode_jpeg, itertools.count(1)

    def full(data, *options):
        if next(calls) > len(PROBES):  # the trial before the run is over
            raise RuntimeError("Error while decoding JPEG images: CUDA out of memory. Tried to")
        return decode(data, *options)

    monkeypatch.setattr(torch.ops.image, "decode_jpeg", full)
    manifest = make_dataset(root, photos(20))
    with pytest.raises(EncoderError, match=r"no memory on cpu: .*out of memory.*--batch-size"):
        run(manifest, root, encoder, decoding="gpu")


def test_decoding_by_gpu_needs_a_preprocessing_that_can_be_cut(root, encoder):
    own = dataclasses.replace(encoder, transform=Halved())
    manifest = make_dataset(root, photos(20))
    with pytest.raises(EncoderError, match="--gpu-decode needs an encoder"):
        run(manifest, root, own, decoding="gpu")


@pytest.mark.parametrize("mode", ["longest", "shortest"])
def test_decoding_by_gpu_refuses_a_way_of_resizing_that_takes_no_tensors(root, encoder, mode):
    config = PreprocessCfg(size=(48, 32), resize_mode=mode)
    own = dataclasses.replace(encoder, transform=image_transform_v2(config, is_train=False))
    manifest = make_dataset(root, photos(20))
    with pytest.raises(EncoderError, match=r"does not resize as .*ResizeKeepRatio.*nothing was"):
        run(manifest, root, own, decoding="gpu")


@pytest.mark.parametrize("bad", [photo(3)[:-300], photo(3, size=(1, 4000))])
def test_a_jpeg_that_is_cut_off_or_too_narrow_is_unreadable_to_every_decoder(
    root, encoder, tmp_path, bad
):
    other = DataRoot.open(tmp_path / "other")
    images = {**photos(20), "train/a/bad.jpg": bad}
    outcomes = [
        run(make_dataset(place, images), place, encoder, decoding=decoding)
        for place, decoding in ((root, "reference"), (other, "gpu"))
    ]
    assert outcomes[0].unreadable == outcomes[1].unreadable
    assert len(outcomes[0].unreadable) == 1


def test_only_whole_grey_and_colour_jpegs_go_to_the_gpu():
    assert is_plain_jpeg(photo(1)) and is_plain_jpeg(drawn(1, "JPEG", "L"))
    assert is_plain_jpeg(photo(1) + bytes(9)) and not is_plain_jpeg(photo(1)[:-1])
    buffer = io.BytesIO()
    Image.open(io.BytesIO(photo(1))).save(buffer, "JPEG", keep_rgb=True)
    stored = buffer.getvalue()
    assert not is_plain_jpeg(stored)
    adobe = stored.index(b"\xff\xee")  # its marker, of 14 bytes behind two
    assert not is_plain_jpeg(stored[:adobe] + stored[adobe + 16 :])
    grey = drawn(1, "JPEG", "L")
    assert is_plain_jpeg(grey[:2] + stored[adobe : adobe + 16] + grey[2:])
    assert not is_plain_jpeg(drawn(1, "JPEG", "CMYK"))
    assert not is_plain_jpeg(drawn(1)) and not is_plain_jpeg(b"") and not is_plain_jpeg(b"\xff\xd8")


def test_a_way_of_decoding_that_nobody_knows_is_refused(root, encoder):
    with pytest.raises(UnknownName, match="did you mean draft"):
        run(encode_tools.drawn_manifest(), root, encoder, decoding="drafts")
