"""Extraction on several devices: here the CPU twice, which takes the same way as two GPUs."""

import os
import signal
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
from encode_tools import add_model, drawn, drawn_manifest, make_dataset, many, tiny_encoder, tiny_on
from typer.testing import CliRunner

from autods.cli.app import app
from autods.core.files import hash_tree
from autods.core.progress import Silent
from autods.core.root import DataRoot
from autods.encode.encoders.open_clip import OpenClipEncoder
from autods.encode.engines.devices import DeviceEngine, choose_devices, local_engine
from autods.encode.engines.local import LocalEngine
from autods.encode.extract import ExtractOutcome, extract_dataset
from autods.encode.jobs import BatchReport, ShardReport
from autods.encode.timings import Processes
from autods.errors import ContainerError, EncoderError, TooManyUnreadable, UsageError
from autods.fetch.records import record_file


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("config")


@pytest.fixture(scope="module")
def encoder(folder: Path) -> OpenClipEncoder:
    return tiny_encoder(folder)


@pytest.fixture(scope="module")
def engine(folder: Path) -> Iterator[DeviceEngine]:
    engine = DeviceEngine(partial(tiny_on, folder), ["cpu", "cpu"], workers=0)
    yield engine
    engine.close()


def run(root: DataRoot, encoder: OpenClipEncoder, engine: DeviceEngine | None) -> ExtractOutcome:
    sizes = {"batch_size": 8, "shard_size": 20}
    return extract_dataset(drawn_manifest(), root, encoder, engine=engine, **sizes)


def calm(root: DataRoot, encoder: OpenClipEncoder, folder: Path, images: dict[str, bytes]) -> str:
    """Return the hash of what this process alone makes of the images."""
    other = DataRoot.open(folder / "calm")
    make_dataset(other, images)
    run(other, encoder, None)
    return hash_tree(other.features(encoder.name, "drawn"))


def test_two_devices_make_the_bytes_of_one_and_are_kept_for_the_next(
    root, encoder, engine, tmp_path
):
    seen: list[BatchReport] = []

    class Watched:
        processes = engine.processes

        def __call__(self, jobs, report):
            yield from engine(jobs, lambda told: (seen.append(told), report(told)))

        def close(self):
            pass

    for count in (200, 90):
        seen.clear()
        place = DataRoot.open(tmp_path / str(count))
        images = {**many(count), "train/class0/bad.png": drawn(1)[:100]}
        images |= {f"train/class1/more{i}.png": drawn(i) for i in range(300 - count)}
        make_dataset(place, images)
        outcome = run(place, encoder, Watched())
        assert (outcome.images, len(outcome.unreadable)) == (300, 1)
        assert sum(told.images for told in seen) == 301
        assert sum((told.skipped for told in seen), ()) == outcome.unreadable
        assert outcome.timings.images == 301
        expected = calm(root, encoder, tmp_path / f"calm{count}", images)
        assert hash_tree(place.features(encoder.name, "drawn")) == expected


def test_devices_with_decoders_of_their_own_make_the_same_bytes(root, encoder, folder, tmp_path):
    make_dataset(root, many(90))
    engine = DeviceEngine(partial(tiny_on, folder), ["cpu", "cpu"], workers=1)
    try:
        assert engine.processes(90) == Processes(2, 2)
        run(root, encoder, engine)
    finally:
        engine.close()
    expected = calm(root, encoder, tmp_path, many(90))
    assert hash_tree(root.features(encoder.name, "drawn")) == expected


def test_an_error_of_one_device_ends_the_run_and_the_next_completes(
    root, encoder, engine, tmp_path
):
    images = many(120)
    make_dataset(root, images)
    folder = root.archive("drawn", "images")
    (folder / "train/class0/0000.png").unlink()
    record_file(root, "drawn", drawn_manifest().files[0], folder, None)  # as if fetched so
    with pytest.raises(ContainerError, match=r"0000\.png is missing"):
        run(root, encoder, engine)
    make_dataset(root, images)
    run(root, encoder, engine)
    expected = calm(root, encoder, tmp_path, images)
    assert hash_tree(root.features(encoder.name, "drawn")) == expected


def test_too_many_unreadable_images_end_all_devices(root, encoder, engine):
    images = many(200)
    make_dataset(root, {n: b"broken" if n.startswith("test") else d for n, d in images.items()})
    with pytest.raises(TooManyUnreadable, match="at most 1 of 200 images"):
        run(root, encoder, engine)


class Killed(Exception):
    pass


def test_a_killed_device_is_one_message_and_costs_its_shard(root, encoder, folder, tmp_path):
    make_dataset(root, many(120))
    engine = DeviceEngine(partial(tiny_on, folder), ["cpu", "cpu"], workers=0)
    pids: list[int] = []

    class Deadly:
        processes = engine.processes

        def __call__(self, jobs, report):
            for made in engine(jobs, report):
                assert isinstance(made, ShardReport)
                if not pids:
                    pids.extend(device.process.pid for device in engine._devices)
                    os.kill(pids[0], signal.SIGKILL)
                yield made

        def close(self):
            pass

    with pytest.raises(EncoderError, match=r"device 'cpu' ended without a word.*fewer --workers"):
        run(root, encoder, Deadly())
    assert not any(Path(f"/proc/{pid}").exists() for pid in pids)
    left = list(root.features(encoder.name, "drawn").glob("*.h5"))
    assert left
    assert run(root, encoder, None).kept == len(left)
    expected = calm(root, encoder, tmp_path, many(120))
    assert hash_tree(root.features(encoder.name, "drawn")) == expected


def test_a_device_that_was_killed_between_two_datasets_is_told_as_such(root, encoder, folder):
    make_dataset(root, many(40))
    engine = DeviceEngine(partial(tiny_on, folder), ["cpu", "cpu"], workers=0)
    run(root, encoder, engine)
    killed = engine._devices[1].process
    killed.kill()
    killed.join()
    next(root.features(encoder.name, "drawn").glob("test-*.h5")).unlink()
    with pytest.raises(EncoderError, match=r"device 'cpu' ended without a word"):
        run(root, encoder, engine)
    assert run(root, encoder, engine).images == 40  # by processes started anew
    engine.close()


def no_encoder(device: str) -> OpenClipEncoder:
    raise EncoderError(f"there is no encoder for {device}")


def test_an_encoder_that_cannot_be_built_on_a_device_is_told(root, encoder):
    make_dataset(root, many(20))
    engine = DeviceEngine(no_encoder, ["cpu", "cpu"])
    with pytest.raises(EncoderError, match="no encoder for cpu"):
        run(root, encoder, engine)


def test_devices_are_named_one_by_one_or_all():
    assert choose_devices("cpu") == ["cpu"]
    assert choose_devices("cpu, cpu") == ["cpu", "cpu"]
    assert choose_devices("auto")
    with pytest.raises(UsageError, match="cpu and meta"):
        choose_devices("cpu,meta")
    with pytest.raises(UsageError, match="device 'cuda:77' cannot be used"):
        choose_devices("cuda:77")


def test_one_device_is_this_process_and_several_are_others(folder):
    encoder, engine = local_engine(partial(tiny_on, folder), ["cpu"], 3, Silent())
    assert isinstance(engine, LocalEngine) and engine.encoder is encoder
    encoder, engine = local_engine(partial(tiny_on, folder), ["meta", "meta"], 3, Silent())
    assert isinstance(engine, DeviceEngine) and engine.processes(1) == Processes(6, 2)
    assert encoder.provenance["device"] == "meta"  # the work is done there


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--workers", "many"], "expected auto or a number from 0 on, got 'many'"),
        (["--draft", "--gpu-decode"], "expected --draft or --gpu-decode, got both"),
        (["--gpu-decode", "--device", "cpu"], "--gpu-decode needs a GPU"),
    ],
)
def test_options_that_make_no_sense_are_refused(root, folder, options, said):
    make_dataset(root, many(10))
    manifests = root.path / "manifests"
    manifests.mkdir()
    (manifests / "drawn.yaml").write_text(drawn_manifest().model_dump_json(), "utf-8")
    model = ["--model", add_model(folder), "--random-weights", "0"]
    command = ["extract", "drawn", *model, "--root", str(root.path), "--manifests", str(manifests)]
    result = CliRunner().invoke(app, [*command, *options])
    assert isinstance(result.exception, UsageError) and said in str(result.exception)
