import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from threading import Timer
from typing import Any

import pytest
import ray_tools
import torch
import yaml
from encode_tools import drawn_manifest, make_dataset, many
from ray_tools import SIZES, Slow, Watch, as_if_on_gpu, cluster_of, kill_worker, slow, workers_of
from typer.testing import CliRunner
from warm import program

from autods.cli.app import app
from autods.core.files import hash_tree
from autods.core.progress import Silent
from autods.core.root import DataRoot
from autods.encode.encoders.interface import Encoder
from autods.encode.encoders.open_clip import load_encoder
from autods.encode.engines import ray_worker
from autods.encode.engines.ray_crew import CrewPlan
from autods.encode.engines.ray_engine import RayEngine, plan_crew
from autods.encode.engines.ray_worker import Machine, Worker, shared_token
from autods.encode.extract import ExtractOutcome, extract_dataset
from autods.encode.timings import Processes
from autods.errors import ClusterError, TooManyUnreadable, UsageError
from autods.index.samples import index_dataset
from autods.manifest.schema import Manifest

pytestmark = pytest.mark.skipif(
    not Path("/proc/self/task").exists(), reason="looks at processes in /proc"
)


@pytest.fixture(scope="module")
def config(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("config")


@pytest.fixture(scope="module")
def encoder(config) -> Slow:
    return slow(config, "cpu")


@pytest.fixture(scope="module")
def calm(tmp_path_factory, encoder) -> str:
    """What the local engine makes of 200 images, undisturbed."""
    root = DataRoot.open(tmp_path_factory.mktemp("calm"))
    make_dataset(root, many(200))
    assert run(root, encoder).written == 21
    return tree(root, encoder)


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    with cluster_of(2) as nodes:
        yield nodes


@pytest.fixture(scope="module")
def told() -> list[str]:
    """What the engine told of its workers."""
    return []


@pytest.fixture(scope="module")
def engine(config, cluster, told) -> Iterator[RayEngine]:
    """An engine whose workers have loaded their encoder for the first test that needs them."""
    made = RayEngine(partial(slow, config), cluster.address, note=told.append)
    yield made
    made.close()


@pytest.fixture
def free(engine, cluster) -> Any:
    """The cluster without workers of other tests on its cores."""
    engine.close()
    return cluster


@pytest.fixture
def root(tmp_path) -> DataRoot:
    root = DataRoot.open(tmp_path / "root")
    make_dataset(root, many(200))
    return root


def run(root: DataRoot, encoder: Encoder, **options: Any) -> ExtractOutcome:
    return extract_dataset(drawn_manifest(), root, encoder, **SIZES, **options)


def tree(root: DataRoot, encoder: Encoder) -> str:
    return hash_tree(root.features(encoder.name, "drawn"))


def broken(root: DataRoot, count: int) -> None:
    """Break images far apart, each in another shard, as if they had been fetched so."""
    images = sorted(root.archive("drawn", "images").glob("train/*/*.png"))
    for path in images[5 :: len(images) // count][:count]:
        path.write_bytes(b"broken")
    make_dataset(root, {})


def test_workers_on_two_nodes_make_the_local_engines_bytes(root, encoder, engine, calm, cluster):
    watch = Watch()
    outcome = run(root, encoder, engine=engine, progress=watch)
    assert tree(root, encoder) == calm
    assert (outcome.written, outcome.images, watch.done) == (21, 200, 200)
    assert outcome.processes == Processes(decoders=0, encoders=2)
    assert outcome.timings.images == 200
    seen = set(workers_of(*cluster.list_all_nodes()))

    # The next dataset finds the same workers, with their encoders.
    shutil.rmtree(root.features(encoder.name, "drawn"))
    assert run(root, encoder, engine=engine).written == 21
    assert seen and seen <= set(workers_of(*cluster.list_all_nodes()))
    beside = root.features(encoder.name, "drawn").parent
    assert {path.name for path in beside.iterdir()} == {
        "drawn",
        "drawn.lock",
        ".drawn-unchanged.json",
    }


def test_unreadable_images_within_the_budget_are_told_as_by_the_local_engine(root, encoder, engine):
    broken(root, 1)
    outcome = run(root, encoder, engine=engine)
    made = tree(root, encoder)
    assert len(outcome.unreadable) == 1
    shutil.rmtree(root.features(encoder.name, "drawn"))
    assert run(root, encoder).unreadable == outcome.unreadable
    assert tree(root, encoder) == made


def test_a_lost_worker_and_a_lost_node_cost_their_shards_and_no_byte(
    root, encoder, engine, calm, cluster, told
):
    (other,) = cluster.worker_nodes
    actions = {  # in the middle of a shard, not at its end
        50: Timer(0.02, lambda: kill_worker(cluster.head_node)).start,
        80: Timer(0.02, lambda: cluster.remove_node(other, allow_graceful=False)).start,
    }
    watch = Watch(actions)
    told.clear()
    try:
        outcome = run(root, encoder, engine=engine, progress=watch)
    finally:
        cluster.add_node(**ray_tools.NODE)
    assert tree(root, encoder) == calm
    assert (outcome.written, watch.done) == (21, 200)
    # a node may take more than one worker with it
    assert sum("was lost while" in note for note in told) >= 2


def test_the_budget_of_unreadable_images_is_that_of_the_dataset(root, encoder, engine):
    broken(root, 3)
    with pytest.raises(TooManyUnreadable, match=r"of 200 images .* got 2 when the run stopped"):
        run(root, encoder, engine=engine)
    assert not root.feature_record(encoder.name, "drawn").exists()


def test_a_worker_with_a_gpu_streams_and_makes_none_twice(root, config, encoder, calm, cluster):
    node = cluster.add_node(**ray_tools.NODE, num_gpus=1)
    told: list[str] = []
    factory = partial(as_if_on_gpu, config)
    engine = RayEngine(factory, cluster.address, workers=0, device="cuda", note=told.append)
    watch = Watch({40: Timer(0.02, lambda: kill_worker(node)).start})
    try:
        outcome = run(root, encoder, engine=engine, progress=watch)
    finally:
        engine.close()
        cluster.remove_node(node)
    assert tree(root, encoder) == calm
    assert (outcome.written, watch.done) == (21, 200)
    assert outcome.processes == Processes(decoders=0, encoders=1)
    assert sum("was lost while it made" in note for note in told) == 1


def test_an_encoder_not_installed_in_the_workers_is_one_message(root, encoder, free, tmp_path):
    (tmp_path / "elsewhere.py").write_text("def build(device): ...")
    sys.path.insert(0, str(tmp_path))
    try:
        from elsewhere import build
    finally:
        sys.path.remove(str(tmp_path))
    engine = RayEngine(build, free.address, workers=1)
    with pytest.raises(ClusterError, match="No module named 'elsewhere'; nothing was done"):
        run(root, encoder, engine=engine)
    engine.close()


def test_a_killed_driver_ends_its_workers_and_is_completed_locally(
    root, config, encoder, calm, free
):
    command = [program("python"), ray_tools.__file__, str(root.path), str(config), free.address]
    folder = root.features(encoder.name, "drawn")
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as driver:
        while not list(folder.glob("*.h5")) and driver.poll() is None:
            time.sleep(0.01)
        driver.kill()
        assert driver.wait() == -9, driver.stderr.read()
    until = time.monotonic() + 20
    while workers_of(*free.list_all_nodes()) and time.monotonic() < until:
        time.sleep(0.05)
    assert not workers_of(*free.list_all_nodes())
    outcome = run(root, encoder)
    assert 0 < outcome.kept < 21
    assert tree(root, encoder) == calm


def test_the_command_extracts_with_a_cluster_of_its_own_and_tells_errors_of_workers(root, tmp_path):
    (tmp_path / "datasets").mkdir()
    write_manifest(tmp_path, drawn_manifest())
    gone = drawn_manifest().model_copy(update={"name": "gone"})
    write_manifest(tmp_path, gone)
    shutil.copytree(root.dataset("drawn"), root.dataset("gone"))
    index_dataset(gone, root, Silent())
    shutil.rmtree(root.archive("gone", "images"))

    model = ["--model", "timm:test_vit", "--random-weights", "0"]
    options = ["--root", root.path, "--manifests", tmp_path, "--engine", "ray", "--workers", "1"]
    sizes = ["--batch-size", "4", "--shard-size", "10"]
    command = [program("autods"), "extract", "drawn", "gone", *model, *options, *sizes]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "Ray: 1 worker with" in done.stderr
    assert "error: gone: " in done.stderr
    assert "Traceback" not in done.stderr and "RayTaskError" not in done.stderr
    encoder = load_encoder("timm:test_vit", random_weights=0)
    assert done.stdout == f"Encoder: {encoder.name}\n"
    made = tree(root, encoder)
    shutil.rmtree(root.features(encoder.name, "drawn"))
    run(root, encoder)
    assert tree(root, encoder) == made


def write_manifest(folder: Path, manifest: Manifest) -> None:
    fields = manifest.model_dump(mode="json", exclude_unset=True, by_alias=True)
    (folder / "datasets" / f"{manifest.name}.yaml").write_text(yaml.safe_dump(fields))


@pytest.mark.parametrize(
    ("nodes", "device", "workers", "expected"),
    [
        ([{"CPU": 0}, {"CPU": 4}, {"CPU": 2}], "auto", None, CrewPlan("cpu", 6, 1, 0)),
        ([{"CPU": 4}, {"CPU": 4}], "cpu", 2, CrewPlan("cpu", 2, 4, 0)),
        ([{"CPU": 4}, {"CPU": 3}], "cpu", 3, CrewPlan("cpu", 3, 2, 0)),
        ([{"CPU": 4}], "cpu", 9, CrewPlan("cpu", 4, 1, 0)),
        ([{"CPU": 4}], "cpu", 0, CrewPlan("cpu", 4, 1, 0)),
        ([{"CPU": 8}, {"CPU": 32, "GPU": 4}], "auto", None, CrewPlan("cuda", 4, 8, 8)),
        ([{"CPU": 16, "GPU": 1}, {"CPU": 8, "GPU": 2}], "cuda", None, CrewPlan("cuda", 3, 4, 4)),
        ([{"CPU": 16, "GPU": 1}], "cuda", 0, CrewPlan("cuda", 1, 1, 0)),
        ([{"CPU": 16, "GPU": 1}], "cpu", None, CrewPlan("cpu", 16, 1, 0)),
    ],
)
def test_workers_are_chosen_by_the_cores_and_gpus_of_the_cluster(nodes, device, workers, expected):
    assert plan_crew(nodes, device, workers) == expected


@pytest.mark.parametrize(
    ("nodes", "device", "says"),
    [
        ([{"CPU": 4}], "cuda", "one that has none"),
        ([{"CPU": 4, "GPU": 2}], "cuda:1", "got 'cuda:1'"),
    ],
)
def test_devices_that_a_cluster_cannot_give_are_refused(nodes, device, says):
    with pytest.raises(UsageError, match=says):
        plan_crew(nodes, device, None)


def test_a_machine_that_does_not_see_the_root_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(ray_worker, "PATIENCE", 0.0)
    with shared_token(tmp_path / "drawn") as token:
        token.check()
        for other in (replace(token, text="other"), replace(token, path=tmp_path / "none")):
            with pytest.raises(ClusterError, match="Mount one shared file system"):
                other.check()
    assert not list(tmp_path.iterdir())


def test_a_machine_with_another_version_of_a_package_is_refused():
    here = Machine.here("cpu")
    here.check_software(here)
    driver = replace(here, name="desk", packages={**here.packages, "pillow": "1.0"})
    with pytest.raises(ClusterError, match=r"expected pillow 1\.0 on .*, as on desk, got"):
        here.check_software(driver)


def test_a_worker_takes_relative_paths_as_the_command_does(tmp_path, encoder):
    seen = []

    def build(device: str) -> Slow:
        seen.append((device, Path.cwd()))
        return encoder

    before, threads = Path.cwd(), torch.get_num_threads()
    try:
        Worker().prepare(build, "cpu", threads, 0, replace(Machine.here("cpu"), folder=tmp_path))
    finally:
        os.chdir(before)
    assert seen == [("cpu", tmp_path)]


@pytest.mark.parametrize(
    ("address", "error", "says"),
    [
        ("127.0.0.1:9", ClusterError, "Connection refused"),
        ("nowhere", ClusterError, "host:port"),
        ("ray://127.0.0.1:10001", UsageError, "ray job submit"),
    ],
)
def test_an_address_without_a_cluster_is_refused_at_once(config, address, error, says):
    with pytest.raises(error, match=says):
        _ = RayEngine(partial(slow, config), address).device


def test_without_ray_the_command_says_what_to_install(root, monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "ray", None)
    options = ["--engine", "ray", "--root", str(root.path)]
    result = CliRunner().invoke(app, ["extract", "flowers", *options])
    assert isinstance(result.exception, UsageError)
    assert "pip install 'autods-bmc[ray]'" in str(result.exception)


def test_the_command_line_does_not_import_ray():
    code = "import sys; from autods.cli.app import main; sys.argv[1:] = ['extract', '--help']\n"
    code += "try: main()\nfinally: assert 'ray' not in sys.modules and 'torch' not in sys.modules"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=False, text=True)
    assert done.returncode == 0, done.stderr
