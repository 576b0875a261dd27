import errno
import io
import multiprocessing
import os
import random
import shutil
import signal
import subprocess
import sys
import time
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import encode_tools
import numpy as np
import open_clip
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from archives import folders_layout, make_zip, manifest_of, placed
from encode_tools import drawn, make_dataset, many, tiny_encoder
from notes import Notes
from PIL import Image
from warm import program, running

from autods.checks.features import verify_features
from autods.containers import MemberReader
from autods.core.files import hash_file, hash_tree, locked, read_json, write_json
from autods.core.progress import Silent
from autods.core.root import DataRoot
from autods.encode import extract
from autods.encode.decode import content_hash
from autods.encode.encoders.open_clip import OpenClipEncoder
from autods.encode.extract import ExtractOutcome, extract_dataset, write_record
from autods.encode.loader import Decoder, decoded_batches
from autods.encode.plan import plan_shards
from autods.encode.preprocessing import Preprocessing
from autods.errors import (
    ContainerError,
    EncoderError,
    FeatureMismatch,
    IndexMissing,
    StoreError,
    TooManyUnreadable,
    UsageError,
)
from autods.features.sets import open_features
from autods.features.shards import read_shard
from autods.fetch.records import record_file
from autods.index.samples import SampleIndex, index_dataset, load_samples
from autods.manifest.schema import Manifest


def run(
    manifest: Manifest, root: DataRoot, encoder: OpenClipEncoder, **options: int
) -> ExtractOutcome:
    return extract_dataset(
        manifest, root, encoder, **{"batch_size": 8, "shard_size": 30, **options}
    )


def tree(root: DataRoot, encoder: OpenClipEncoder) -> str:
    return hash_tree(root.features(encoder.name, "drawn"))


def test_every_split_is_cut_into_shards_in_the_order_of_the_index(root, encoder):
    manifest = make_dataset(root, many(100))
    outcome = run(manifest, root, encoder)
    stored = open_features(root, encoder.name, "drawn")
    index = load_samples(root, "drawn")
    assert [s.path.name for s in stored.shards] == [
        "train-00000-of-00003.h5",
        "train-00001-of-00003.h5",
        "train-00002-of-00003.h5",
        "dev-00000-of-00001.h5",
        "test-00000-of-00001.h5",
    ]
    for split in ("train", "dev", "test"):
        shards = [s for s in stored.shards if s.info.split == split]
        rows = np.concatenate([s.sample for s in shards])
        assert np.array_equal(rows, index.rows(split))
        labels = np.concatenate([s.labels["object"] for s in shards])
        assert np.array_equal(labels, index.labels()[rows])
    assert (outcome.images, outcome.written, outcome.kept, outcome.unreadable) == (100, 5, 0, ())


def test_features_equal_a_plain_open_clip_loop(root, encoder):
    kinds = [
        ("PNG", "L"),
        ("PNG", "P"),
        ("PNG", "RGBA"),
        ("JPEG", "CMYK"),
        ("JPEG", "RGB"),
        ("GIF", "P"),
    ]
    images = {
        f"train/c{i % 2}/{i:03d}.{fmt.lower()}": drawn(i, fmt, mode)
        for i, (fmt, mode) in enumerate(kinds * 4)
    }
    manifest = make_dataset(
        root, {**images, "test/c0/x.png": drawn(99), "test/c1/y.png": drawn(98)}
    )
    run(manifest, root, encoder)
    torch.manual_seed(0)
    model, _, preprocess = open_clip.create_model_and_transforms(encode_tools.MODEL)
    model.eval()
    stored, index = open_features(root, encoder.name, "drawn"), load_samples(root, "drawn")
    rows = np.concatenate([s.sample for s in stored.shards])
    features = np.concatenate([s.features for s in stored.shards]).astype(np.float32)
    reader = MemberReader(root, "drawn")
    for row, feature, hashed in zip(rows, features, stored.content_hash, strict=True):
        place = index.locate(int(row))
        with Image.open(root.archive("drawn", "images") / place[1]) as image, torch.no_grad():
            pixels = preprocess(image)[None]
            expected = model.encode_image(pixels)[0].numpy()
        assert np.abs(encoder.encode(pixels)[0] - expected).max() < 1e-5
        cosine = feature @ expected / np.linalg.norm(feature) / np.linalg.norm(expected)
        assert cosine > 0.99999
        assert int(hashed) == content_hash(reader.read(*place))


def test_the_same_bytes_come_out_whatever_the_number_of_workers(root, encoder, tmp_path):
    manifest = make_dataset(root, many(60))
    run(manifest, root, encoder, workers=0)
    other = DataRoot.open(tmp_path / "other")
    make_dataset(other, many(60))
    run(manifest, other, encoder, workers=2)
    assert tree(root, encoder) == tree(other, encoder)


def test_a_second_run_changes_nothing_and_reads_no_image(root, encoder):
    manifest = make_dataset(root, many(60))
    run(manifest, root, encoder)
    before = tree(root, encoder)
    for path in root.archive("drawn", "images").rglob("*.png"):
        path.unlink()
    lines = Notes()
    outcome = extract_dataset(manifest, root, encoder, batch_size=8, shard_size=30, progress=lines)
    assert (outcome.written, outcome.kept, outcome.images) == (0, 4, 60)
    assert tree(root, encoder) == before
    assert lines.done == 0 and "there already" in lines.lines[-1]


def test_only_missing_shards_are_made_again_and_equal_the_old_ones(root, encoder):
    manifest = make_dataset(root, many(100))
    run(manifest, root, encoder)
    before = tree(root, encoder)
    root.shard(encoder.name, "drawn", "train", 1, 3).unlink()
    root.feature_record(encoder.name, "drawn").unlink()
    outcome = run(manifest, root, encoder, batch_size=5)  # the recorded 8 is kept
    assert (outcome.written, outcome.kept) == (1, 4)
    assert tree(root, encoder) == before


def test_a_run_tells_what_it_did(root, encoder):
    images = {**many(250), "train/class0/bad.png": drawn(1)[:100]}
    lines = Notes()
    manifest = make_dataset(root, images)
    extract_dataset(manifest, root, encoder, progress=lines)
    assert lines.done == 251
    assert "250 images" in lines.lines[-1] and "1 unreadable" in lines.lines[-1]
    assert "images/s" in lines.lines[-1]


def test_a_truncated_image_is_recorded_and_skipped(root, encoder):
    images = {**many(250), "train/class0/bad.png": drawn(1)[:100]}
    manifest = make_dataset(root, images)
    outcome = run(manifest, root, encoder)
    index, stored = load_samples(root, "drawn"), open_features(root, encoder.name, "drawn")
    (sample, path, reason), *others = outcome.unreadable
    assert not others and path == "images/train/class0/bad.png" and "truncated" in reason
    assert index.table["path"][sample].as_py() == path
    rows = np.concatenate([s.sample for s in stored.shards])
    assert outcome.images == len(rows) == 250 and sample not in rows
    recorded = [list(row) for s in stored.shards for row in s.info.unreadable]
    assert recorded == [[sample, path, reason]]


def zipped(root: DataRoot, folder: Path, n: int) -> tuple[Manifest, dict[str, int]]:
    """Index n images of a deflated zip; return where the data of each member begins, too."""
    files = {f"{i % 2}/{i:04d}.bmp": drawn(i % 9, "BMP") for i in range(n)}
    source = make_zip(folder / "a.zip", files, zipfile.ZIP_DEFLATED)
    manifest = manifest_of({"a.zip": source}, folders_layout("a.zip"), "drawn")
    manifest = placed(root, manifest, {"a.zip": source})
    index_dataset(manifest, root, Silent())
    with zipfile.ZipFile(source) as archive:
        infos = archive.infolist()
    return manifest, {i.filename: i.header_offset + 30 + len(i.filename) for i in infos}


def written_so(root: DataRoot, manifest: Manifest) -> None:
    """Take an archive as it is now for the one that was published and fetched."""
    kept = root.archive("drawn", "a.zip")
    record_file(root, "drawn", manifest.files[0].model_copy(
        update={"checksum": f"sha256:{hash_file(kept, 'sha256')}"}), kept, None)  # fmt: skip


@pytest.mark.parametrize("damage", [b"\xff" * 20, b"\x03\x00"], ids=["no deflate", "too short"])
def test_a_damaged_member_of_an_archive_is_recorded_and_skipped(root, encoder, tmp_path, damage):
    manifest, places = zipped(root, tmp_path, 201)
    with root.archive("drawn", "a.zip").open("rb+") as file:
        file.seek(places["1/0007.bmp"])
        file.write(damage)
    with pytest.raises(ContainerError, match="it changed after it was fetched and verified"):
        run(manifest, root, encoder)
    written_so(root, manifest)
    outcome = run(manifest, root, encoder)
    ((_, path, reason),) = outcome.unreadable
    assert outcome.images == 200 and path == "a.zip/1/0007.bmp"
    assert reason == "its data in the archive is damaged"


@pytest.mark.parametrize("workers", [0, 1])
def test_an_archive_that_was_cut_off_stays_an_error(root, encoder, tmp_path, workers):
    manifest, places = zipped(root, tmp_path, 201)
    os.truncate(root.archive("drawn", "a.zip"), places["0/0100.bmp"])
    with pytest.raises(ContainerError, match=r"a\.zip"):
        run(manifest, root, encoder, workers=workers)


def decoder(root: DataRoot, transform: object) -> Decoder:
    return Decoder(MemberReader(root, "drawn"), Preprocessing(transform, None, (32, 32)))


class Greedy:
    """A transform that finds no memory, as torch says it."""

    def __init__(self, error: type[Exception]) -> None:
        self.error = error

    def __call__(self, image):
        raise self.error("DefaultCPUAllocator: can't allocate memory")


@pytest.mark.parametrize("error", [MemoryError, RuntimeError])
@pytest.mark.parametrize("workers", [0, 1])
def test_want_of_memory_stops_the_run_and_condemns_no_image(root, error, workers):
    make_dataset(root, many(8))
    index = load_samples(root, "drawn")
    batches = [[index.locate(i) for i in range(4)]]
    with pytest.raises(EncoderError, match=r"0004\.png.*can't allocate.*was not judged") as caught:
        list(decoded_batches(decoder(root, Greedy(error)), batches, 4, workers))
    assert "Traceback" not in str(caught.value)


class Crashing:
    """A transform that ends its process, as a crash of a decoder does."""

    def __call__(self, image):
        os.kill(os.getpid(), signal.SIGSEGV)


def test_images_that_were_under_way_when_a_decoding_process_crashed_are_named(root):
    make_dataset(root, many(8))
    index = load_samples(root, "drawn")
    batches = [[index.locate(i) for i in range(4)]]
    with pytest.raises(EncoderError, match=r"one of these crashed it: images/\S*\.png; finished"):
        list(decoded_batches(decoder(root, Crashing()), batches, 4, 1))


@pytest.mark.parametrize("workers", [0, 1])
def test_memory_that_no_machine_has_is_an_error(root, workers):
    batches = decoded_batches(decoder(root, Greedy(MemoryError)), [], 1 << 40, workers)
    with pytest.raises(EncoderError, match=r"[\d,]{14,} MiB .*shards are kept.*fewer --workers"):
        next(batches)


@pytest.mark.parametrize(("bad", "passes"), [(1, True), (2, False)])
def test_more_than_one_unreadable_image_in_200_is_an_error(root, encoder, bad, passes):
    images = many(200)
    for name in sorted(images)[:bad]:
        images[name] = b"not an image"
    manifest = make_dataset(root, images)
    if passes:
        assert len(run(manifest, root, encoder).unreadable) == 1
        return
    for _ in range(2):  # the same command gives the same answer
        with pytest.raises(TooManyUnreadable, match=r"at most 1 of 200 .*got 2.*\.png"):
            run(manifest, root, encoder)
        assert not root.feature_record(encoder.name, "drawn").exists()


@pytest.mark.parametrize("bad", [1, 2])
def test_of_a_few_images_one_may_be_unreadable_and_no_second_one(root, encoder, bad):
    images = many(12)
    for name in list(images)[:bad]:
        images[name] = b"not an image"
    manifest = make_dataset(root, images)
    if bad == 1:
        outcome = run(manifest, root, encoder)
        assert (outcome.images, len(outcome.unreadable)) == (11, 1)
        return
    with pytest.raises(TooManyUnreadable, match="`exclude:` in the layout of the manifest"):
        run(manifest, root, encoder)


def test_a_small_dataset_is_encoded_in_small_batches_that_a_second_run_keeps(root, encoder):
    shapes = set()

    class Watched(OpenClipEncoder):
        def encode(self, batch):
            shapes.add(len(batch))
            return super().encode(batch)

    lines, watched = Notes(), Watched(**vars(encoder))
    manifest = make_dataset(root, many(20))
    extract_dataset(manifest, root, watched, batch_size=64)
    before = tree(root, encoder)
    next(root.features(encoder.name, "drawn").glob("test-*.h5")).unlink()
    extract_dataset(manifest, root, watched, batch_size=64, progress=lines)
    assert shapes == {16}  # the 14 of train, filled up
    assert tree(root, encoder) == before
    assert not any("batches of" in note for note in lines.lines)
    next(root.features(encoder.name, "drawn").glob("test-*.h5")).unlink()
    extract_dataset(manifest, root, watched, batch_size=2, progress=lines)
    assert tree(root, encoder) == before
    assert "drawn: batches of 16 images, as in the shards that are there, not of 2" in lines.lines


@pytest.mark.parametrize("package", ["PIL", "torchvision"])
def test_shards_of_another_decoding_version_are_not_continued(root, encoder, monkeypatch, package):
    manifest = make_dataset(root, many(40))
    run(manifest, root, encoder)
    monkeypatch.setattr(f"autods.encode.extract.{package}.__version__", "0.1")
    assert run(manifest, root, encoder).written == 0  # a whole set is what it is
    next(root.features(encoder.name, "drawn").glob("test-*.h5")).unlink()
    with pytest.raises(FeatureMismatch, match=r"expected encoder's \w+ 0\.1, got"):
        run(manifest, root, encoder)


def test_an_image_so_narrow_that_enlarging_it_takes_all_memory_is_unreadable(root, encoder):
    buffer = io.BytesIO()
    Image.new("L", (1, 60_000)).save(buffer, "PNG")
    manifest = make_dataset(root, {**many(20), "train/class0/thread.png": buffer.getvalue()})
    ((_, path, reason),) = run(manifest, root, encoder).unreadable
    assert path.endswith("thread.png") and "1 x 60000 pixels" in reason


def test_a_run_that_waits_for_another_one_says_so(root, encoder):
    manifest, lines = make_dataset(root, many(20)), Notes()
    with ThreadPoolExecutor(1) as pool, locked(root.features(encoder.name, "drawn")):
        waiting = pool.submit(extract_dataset, manifest, root, encoder, progress=lines)
        deadline = time.monotonic() + 20
        while not lines.lines and time.monotonic() < deadline:
            time.sleep(0.01)
        assert "another process works on drawn by" in lines.lines[0] and not waiting.done()
    assert waiting.result().images == 20


def test_shards_finished_before_too_many_were_unreadable_are_kept_for_the_next_run(root, encoder):
    images = many(200)
    for name in [n for n in sorted(images) if n.startswith("train")][-3:]:
        images[name] = b"not an image"
    manifest = make_dataset(root, images)
    with pytest.raises(TooManyUnreadable):
        run(manifest, root, encoder)
    finished = sorted(root.features(encoder.name, "drawn").glob("*.h5"))
    assert finished and all(len(read_shard(path)) == 30 for path in finished)
    make_dataset(root, many(200))  # the images are mended
    outcome = run(manifest, root, encoder)
    assert outcome.kept == len(finished) and outcome.images == 200


def test_a_shard_without_a_single_readable_image_has_no_rows(root, encoder, monkeypatch):
    monkeypatch.setattr(extract, "ONE_IN", 1)
    images = many(20)
    test = {n: b"broken" for n in images if n.startswith("test")}
    run(make_dataset(root, {**images, **test}), root, encoder)
    shard = read_shard(root.shard(encoder.name, "drawn", "test", 0, 1))
    assert shard.features.shape == (0, 16) and len(shard.info.unreadable) == len(test)


def test_samples_that_only_the_paper_uses_make_the_split_extra(root, encoder):
    images = {**many(40), **{f"more/class0/{i}.png": drawn(500 + i) for i in range(5)}}
    paper = {"rule": "official", "train": ["train", "more"], "dev_fraction": 0}
    protocols = {"clean": {"rule": "official"}, "paper": paper}
    run(make_dataset(root, images, protocols=protocols), root, encoder)
    extra = read_shard(root.shard(encoder.name, "drawn", "extra", 0, 1))
    assert len(extra) == 5 and extra.splits["paper"].tolist() == [1] * 5
    stored = open_features(root, encoder.name, "drawn")
    assert len(stored.rows("train", "paper")) == 32 + 5
    assert len(stored.rows("train")) + len(stored.rows("dev")) == 32


def test_shards_of_other_weights_are_never_mixed(root, encoder, tmp_path):
    manifest = make_dataset(root, many(60))
    run(manifest, root, encoder)
    before = tree(root, encoder)
    other = tiny_encoder(tmp_path, seed=1)
    stranger = OpenClipEncoder(**{**vars(other), "name": encoder.name})
    with pytest.raises(FeatureMismatch) as caught:
        run(manifest, root, stranger)
    for text in (encoder.provenance["weights_sha256"], other.provenance["weights_sha256"]):
        assert text in str(caught.value)
    assert str(root.features(encoder.name, "drawn")) in str(caught.value)
    assert tree(root, encoder) == before


def test_shards_of_another_manifest_are_never_mixed(root, encoder):
    manifest = make_dataset(root, many(60))
    run(manifest, root, encoder)
    changed = make_dataset(root, {}, protocols={"clean": {"rule": "official", "seed": 5}})
    with pytest.raises(FeatureMismatch) as caught:
        run(changed, root, encoder)
    assert manifest.fingerprint() in str(caught.value)
    assert changed.fingerprint() in str(caught.value)


def replace_index(root: DataRoot, table: pa.Table) -> None:
    """Write another index, as if it had been made so."""
    pq.write_table(table, root.samples("drawn"))
    record = read_json(root.record("drawn"))
    record["index"]["sha256"] = hash_file(root.samples("drawn"), "sha256")
    write_json(root.record("drawn"), record)


def test_an_index_with_other_labels_or_splits_does_not_fit_the_existing_shards(root, encoder):
    manifest = make_dataset(root, many(60))
    run(manifest, root, encoder)
    before = tree(root, encoder)
    path = root.samples("drawn")
    table = pq.read_table(path)
    for column, change in [("label_object", 0), ("split_clean", "test")]:
        values = table[column].to_pylist()
        values[7] = change if values[7] != change else type(change)(1)
        at = table.column_names.index(column)
        other = table.set_column(at, table.schema.field(at), pa.array(values, table[column].type))
        replace_index(root, other)
        with pytest.raises(FeatureMismatch, match=r"sample index sha256|shard|rows"):
            run(manifest, root, encoder)
        assert tree(root, encoder) == before
        assert any("sample index" in problem for problem in verify_features(root))
    # Where the bytes lie in the archive may change.
    at = table.column_names.index("offset")
    moved = table.set_column(at, "offset", pa.array([5] * len(table), pa.int64()))
    replace_index(root, moved)
    assert run(manifest, root, encoder).written == 0


def test_the_columns_of_the_index_are_converted_once_not_for_every_shard(
    root, encoder, monkeypatch
):
    asked: list[str] = []
    official = {"rule": "official"}
    manifest = make_dataset(root, many(60), protocols={"clean": official, "paper": official})
    numbers = SampleIndex.split_numbers

    def split_numbers(index, protocol="clean"):
        asked.append(protocol)
        return numbers(index, protocol)

    monkeypatch.setattr(SampleIndex, "split_numbers", split_numbers)
    run(manifest, root, encoder, shard_size=1000)
    few = len(asked)
    shutil.rmtree(root.features(encoder.name, "drawn"))
    run(manifest, root, encoder, shard_size=5)
    assert few > 0 and len(asked) == 2 * few


def test_shards_of_another_size_are_never_mixed(root, encoder):
    manifest = make_dataset(root, many(60))
    run(manifest, root, encoder)
    with pytest.raises(FeatureMismatch, match=r"train-00000-of-0000[25]"):
        run(manifest, root, encoder, shard_size=10)


def test_a_newer_open_clip_keeps_a_finished_set_and_adds_nothing_to_an_unfinished_one(
    root, encoder
):
    manifest = make_dataset(root, many(60))
    run(manifest, root, encoder)
    provenance = {**encoder.provenance, "open_clip": "99.0"}
    newer = OpenClipEncoder(**{**vars(encoder), "provenance": provenance})
    assert run(manifest, root, newer).written == 0
    root.shard(encoder.name, "drawn", "test", 0, 1).unlink()
    with pytest.raises(FeatureMismatch, match=r"open_clip 99\.0"):
        run(manifest, root, newer)


@pytest.mark.parametrize("key", ["device", "torch"])
def test_a_run_goes_on_only_on_the_kind_of_device_and_the_torch_it_began_with(root, encoder, key):
    manifest = make_dataset(root, many(60))
    run(manifest, root, encoder)
    assert encoder.provenance["device"] == "cpu"
    assert encoder.provenance["torch"] == torch.__version__
    changed = {**encoder.provenance, key: "other"}
    elsewhere = OpenClipEncoder(**{**vars(encoder), "provenance": changed})
    assert run(manifest, root, elsewhere).written == 0
    root.shard(encoder.name, "drawn", "test", 0, 1).unlink()
    with pytest.raises(FeatureMismatch, match=f"encoder's {key} other, got"):
        run(manifest, root, elsewhere)


def test_a_damaged_shard_is_named_and_left_alone(root, encoder):
    manifest = make_dataset(root, many(60))
    run(manifest, root, encoder)
    path = root.shard(encoder.name, "drawn", "test", 0, 1)
    path.write_bytes(path.read_bytes()[:500])
    with pytest.raises(StoreError, match="Delete this file"):
        run(manifest, root, encoder)
    assert path.stat().st_size == 500


def test_a_dataset_without_an_index_is_an_error(root, encoder):
    with pytest.raises(IndexMissing, match="autods index drawn"):
        run(encode_tools.drawn_manifest(), root, encoder)


@pytest.mark.parametrize("options", [{"batch_size": 0}, {"shard_size": 0}, {"workers": -1}])
def test_sizes_that_make_no_sense_are_refused(root, encoder, options):
    with pytest.raises(UsageError, match="nothing was done"):
        run(encode_tools.drawn_manifest(), root, encoder, **options)


@pytest.mark.parametrize("workers", [0, 1])
def test_an_archive_that_is_gone_stops_the_run_without_a_workers_traceback(root, encoder, workers):
    manifest = make_dataset(root, many(20))
    next(root.archive("drawn", "images").rglob("*.png")).unlink()
    with pytest.raises(ContainerError, match="it changed after it was fetched"):
        run(manifest, root, encoder, workers=workers)
    shutil.rmtree(root.archive("drawn", "images"))
    with pytest.raises(ContainerError) as caught:
        run(manifest, root, encoder, workers=workers)
    assert "Traceback" not in str(caught.value) and ".png" in str(caught.value)


def test_features_beyond_float16_are_an_error(root, encoder):
    class Loud(OpenClipEncoder):
        def encode(self, batch):
            return super().encode(batch) * np.float32(1e6)

    manifest = make_dataset(root, many(20))
    with pytest.raises(EncoderError, match="not finite in float16"):
        run(manifest, root, Loud(**vars(encoder)))
    assert not list(root.features(encoder.name, "drawn").glob("*.h5"))


def only_readable(monkeypatch):
    """Refuse what writes, as a file system that is mounted for reading does."""

    def refuse(*_: object, **__: object) -> None:
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr("autods.core.files._reserved", refuse)
    for call in ("filelock.FileLock.acquire", "pathlib.Path.unlink", "pathlib.Path.write_text"):
        monkeypatch.setattr(call, refuse)


def test_a_complete_root_that_can_only_be_read_is_complete(root, encoder, monkeypatch):
    manifest = make_dataset(root, many(20))
    first = run(manifest, root, encoder)
    first_shard = next(root.features(encoder.name, "drawn").glob("*.h5"))
    first_shard.with_name(f"{first_shard.name}.gone-1").touch()  # of a killed process
    only_readable(monkeypatch)
    assert index_dataset(manifest, root, Silent()).action == "kept"
    lines = Notes()
    again = run(manifest, root, encoder, progress=lines)
    assert (again.written, again.images) == (0, 20) and "there already" in lines.lines[-1]
    write_record(root, [again])
    with pytest.raises(OSError, match="Read-only"):
        write_record(root, [first])


class Deadly:
    """A transform that ends its process as an operating system out of memory does."""

    def __call__(self, image):
        os.kill(os.getpid(), signal.SIGKILL)


def test_a_worker_that_dies_is_an_error_and_no_endless_wait(root):
    make_dataset(root, many(8))
    index = load_samples(root, "drawn")
    batches = [[index.locate(i) for i in range(4)]]
    with pytest.raises(EncoderError, match="fewer --workers"):
        list(decoded_batches(decoder(root, Deadly()), batches, 4, workers=1))


def test_the_callers_random_numbers_are_left_alone(root, encoder, tmp_path):
    manifest = make_dataset(root, many(20))
    torch.manual_seed(7)
    expected = torch.rand(3)
    torch.manual_seed(7)
    tiny_encoder(tmp_path, seed=3)
    run(manifest, root, encoder)
    assert torch.equal(torch.rand(3), expected)


def test_every_sample_is_in_exactly_one_shard(root, encoder):
    make_dataset(root, many(101))
    index = load_samples(root, "drawn")
    for size in (1, 7, 64, 1000):
        plans = plan_shards(index, root, encoder.name, size)
        rows = np.concatenate([plan.rows for plan in plans])
        assert np.array_equal(np.sort(rows), np.arange(101))
        assert all(0 < len(plan.rows) <= size for plan in plans)
        assert len({plan.path for plan in plans}) == len(plans)


def written(root: DataRoot, config: Path) -> None:
    """Extract, and end with the number of shards written as exit status."""
    sys.exit(encode_tools.extract_here(root, config, 0).written)


def fork(root: DataRoot, config: Path) -> multiprocessing.Process:
    # Forked, not spawned: importing torch takes longer than what is tested here.
    child = multiprocessing.get_context("fork").Process(target=written, args=(root, config))
    child.start()
    return child


def test_a_run_killed_at_any_moment_ends_with_the_bytes_of_an_undisturbed_one(root, tmp_path):
    make_dataset(root, many(240))
    calm = DataRoot.open(tmp_path / "calm")
    make_dataset(calm, many(240))
    encode_tools.extract_here(calm, tmp_path, 0)
    chance, kills = random.Random(0), 0
    for _ in range(8):
        child = fork(root, tmp_path)
        child.join(chance.uniform(0, 0.15))
        child.kill()
        child.join()
        kills += child.exitcode == -signal.SIGKILL
    assert kills > 1
    assert fork(root, tmp_path).join(60) is None
    name = f"{encode_tools.MODEL}.random-0"
    assert len(list(root.features(name, "drawn").glob("*.h5"))) == 8
    assert hash_tree(root.features(name, "drawn")) == hash_tree(calm.features(name, "drawn"))


def descendants(pid: int) -> list[int]:
    """Return the processes below one, from /proc."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [below for child in map(int, children) for below in [child, *descendants(child)]]


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="looks at processes in /proc")
def test_a_run_killed_with_its_workers_alive_goes_on_at_once(root, tmp_path):
    make_dataset(root, many(240))
    command = [program("python"), encode_tools.__file__, str(root.path), str(tmp_path), "1"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as child:
        for line in child.stderr or []:  # one for every batch
            if " of 240 images" in line:
                break
        run = running(child.pid)
        helpers = descendants(run)
        os.kill(run, signal.SIGKILL)
    name = f"{encode_tools.MODEL}.random-0"
    assert not root.feature_record(name, "drawn").exists()
    with locked(root.features(name, "drawn"), timeout=5):  # not left to a worker
        pass
    assert encode_tools.extract_here(root, tmp_path, 0).images == 240
    deadline = time.monotonic() + 20
    while (left := [pid for pid in helpers if Path(f"/proc/{pid}").exists()]) and (
        time.monotonic() < deadline
    ):
        time.sleep(0.05)
    assert helpers and not left  # nor did one stay behind


def test_a_full_disk_is_one_message_and_the_next_run_completes_to_the_same_bytes(root, tmp_path):
    make_dataset(root, many(240))
    command = [program("python"), encode_tools.__file__, str(root.path), str(tmp_path), "0"]
    full = subprocess.run([*command, "6000"], stderr=subprocess.PIPE, text=True, check=False)
    assert full.returncode == 1
    assert "Traceback" not in full.stderr and full.stderr.count("error:") == 1
    assert "'ulimit -f' shows it" in full.stderr
    folder = root.features(f"{encode_tools.MODEL}.random-0", "drawn")
    assert not list(folder.glob("*.tmp")) and not list(folder.glob("record.json"))
    assert all(read_shard(path) for path in folder.glob("*.h5"))
    encode_tools.extract_here(root, tmp_path, 0)
    calm = DataRoot.open(tmp_path / "calm")
    make_dataset(calm, many(240))
    encode_tools.extract_here(calm, tmp_path, 0)
    assert hash_tree(folder) == hash_tree(calm.features(folder.parent.name, "drawn"))


def test_two_runs_at_once_do_not_disturb_each_other(root, tmp_path):
    make_dataset(root, many(80))
    children = [fork(root, tmp_path) for _ in range(2)]
    for child in children:
        child.join(60)
    name = f"{encode_tools.MODEL}.random-0"
    shards = len(open_features(root, name, "drawn").shards)
    assert sorted(child.exitcode for child in children) == [0, shards]
