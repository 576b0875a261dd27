"""Four real datasets go the whole path through the command lines: archives to report.

Flowers and Tiny ImageNet come from a loopback HTTP server, Grocery and Omniglot from local
files. The encoder is tiny and untrained: what it yields on real images is well above chance.
"""

import json
import os
import re
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from archives import REPOSITORY, checksum
from encode_tools import MODEL, add_model
from published import OMNIGLOT, RAW, publish_flowers, publish_tinyimagenet
from servers.web import running
from warm import program

from autods.core.files import hash_file, hash_tree
from autods.core.root import DataRoot
from autods.encode.encoders.open_clip import load_encoder
from autods.encode.extract import extract_dataset
from autods.index.samples import load_samples
from autods.manifest.catalogue import Catalogue
from autods.streams.open import open_stream

pytestmark = pytest.mark.skipif(not RAW.is_dir(), reason="no shared data beside the repository")

DATASETS = ["flowers", "grocery", "omniglot", "tinyimagenet"]
SAMPLES = {"flowers": 408, "grocery": 1231, "omniglot": 4840, "tinyimagenet": 2090}
TEST = {"flowers": 102, "grocery": 404, "omniglot": 1210, "tinyimagenet": 950}
CLASSES = {"flowers": 17, "grocery": 81, "omniglot": 242, "tinyimagenet": 19}
TASKS = {"flowers": 1, "grocery": 7, "omniglot": 20, "tinyimagenet": 2}  # of about 12 classes
ENCODER = f"{MODEL}.random-0"
SIZES = {"batch_size": 32, "shard_size": 100}
# `autods` in a process that knows one more model; everything else is as installed.
AUTODS_WITH_MODEL = """
import sys
import open_clip
open_clip.add_model_config(sys.argv.pop(1))
from autods.cli.app import main
main()
"""


class Handler(SimpleHTTPRequestHandler):
    """Serves a folder with ranges; the first answer breaks off in the middle."""

    server: "Server"

    def log_message(self, *_: object) -> None:
        pass

    def do_GET(self) -> None:
        body = Path(self.translate_path(self.path)).read_bytes()
        wanted = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        first = int(wanted[1]) if wanted else 0
        self.server.log.append((self.path, first))
        self.send_response(206 if wanted else 200)
        if wanted:
            self.send_header("Content-Range", f"bytes {first}-{len(body) - 1}/{len(body)}")
        self.send_header("ETag", '"as published"')
        self.send_header("Content-Length", str(len(body) - first))
        self.end_headers()
        half = len(self.server.log) == 1
        self.wfile.write(body[first : len(body) // 2 if half else None])


class Server(ThreadingHTTPServer):
    """A loopback server of a folder; ``log`` holds path and first byte of every request."""

    daemon_threads = True

    def __init__(self, folder: Path) -> None:
        super().__init__(("127.0.0.1", 0), partial(Handler, directory=str(folder)))
        self.log: list[tuple[str, int]] = []


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    folder = tmp_path / "published"
    folder.mkdir()
    with running(Server(folder)) as started:
        yield started


@pytest.fixture
def manifests(tmp_path: Path, server: Server) -> Path:
    """Build the archives; write the four manifests with their checksums, and one stream."""
    published = tmp_path / "published"
    publish_flowers(published)
    publish_tinyimagenet(published)
    shipped, examples = (
        REPOSITORY / "manifests" / "datasets",
        REPOSITORY / "docs/examples/manifests",
    )
    local = {"GroceryStoreDataset": RAW / "grocery"} | {p.name: p for p in OMNIGLOT.glob("*.zip")}
    folder = tmp_path / "manifests"
    (folder / "streams").mkdir(parents=True)
    for name in DATASETS:
        original = next(p for p in (shipped, examples) if (p / f"{name}.yaml").exists())
        manifest = yaml.safe_load((original / f"{name}.yaml").read_text("utf-8"))
        manifest["files"] = [
            _file(entry["name"], local, published, server) for entry in manifest["files"]
        ]
        (folder / f"{name}.yaml").write_text(yaml.safe_dump(manifest), "utf-8")
    items = [{"dataset": name, "classes_per_task": 12} for name in DATASETS]
    stream = {"name": "four", "title": "Four real datasets", "datasets": items}
    (folder / "streams" / "four.yaml").write_text(yaml.safe_dump(stream), "utf-8")
    return folder


def _file(name: str, local: dict[str, Path], published: Path, server: Server) -> dict[str, Any]:
    source = local.get(name, published / name)
    url = f"http://127.0.0.1:{server.server_port}/{name}"
    mirror = {"kind": "file", "url": str(source)} if name in local else {"kind": "http", "url": url}
    return {"name": name, "checksum": checksum(source), "mirrors": [mirror]}


class Commands:
    """Runs the command lines as a user does, in processes of their own, on one data root."""

    def __init__(self, folder: Path, manifests: Path) -> None:
        self.root = DataRoot.open(folder / "root")
        self.folder = folder
        self.environment = {
            **os.environ,
            "AUTODS_ROOT": str(self.root.path),
            "AUTODS_MANIFESTS": str(manifests),
            "NO_PROXY": "127.0.0.1",
            "OMP_NUM_THREADS": "1",
        }
        add_model(folder)
        self.extract = [
            *[program("python"), "-c", AUTODS_WITH_MODEL, str(folder / f"{MODEL}.json"), "extract"],
            *["--model", MODEL, "--random-weights", "0"],
            *[f"--{key.replace('_', '-')}={value}" for key, value in SIZES.items()],
        ]

    def start(self, command: list[str]) -> subprocess.Popen[str]:
        pipe = subprocess.PIPE
        return subprocess.Popen(
            command, cwd=self.folder, env=self.environment, stdout=pipe, stderr=pipe, text=True
        )

    def run(self, *command: str, code: int = 0) -> tuple[str, str]:
        """Run an installed command, or a program by its path; return its two outputs."""
        with self.start([program(Path(command[0]).name), *command[1:]]) as child:
            out, err = child.communicate(timeout=120)
        assert child.returncode == code, err
        assert "Traceback" not in err
        return out, err

    def status(self) -> dict[str, dict[str, Any]]:
        shown = json.loads(self.run("autods", "status", "--json")[0])
        return {row["dataset"]: row for row in shown["datasets"]}

    def extract_and_die(self, dataset: str, shards: int) -> None:
        """Extract everything and kill the process when a dataset has a few of its shards."""
        folder = self.root.features(ENCODER, dataset)
        with self.start(self.extract) as child:
            until = time.monotonic() + 60
            while child.poll() is None and time.monotonic() < until:
                if len(list(folder.glob("*.h5"))) >= shards:
                    break
                time.sleep(0.002)
            child.kill()
        assert child.returncode == -signal.SIGKILL
        assert not self.root.feature_record(ENCODER, dataset).exists()


def test_four_real_datasets_go_from_archives_to_a_report_despite_a_kill(
    tmp_path, manifests, server
):
    commands = Commands(tmp_path, manifests)
    fetch_all(commands, server)
    index_all(commands)

    commands.extract_and_die("grocery", shards=3)
    states = commands.status()
    assert ENCODER in states["flowers"]["features"]
    assert ENCODER not in states["grocery"]["features"]
    _, err = commands.run(*commands.extract)
    assert "RANDOM weights" in err
    assert re.search(r"grocery: \d+ of 14 shards are there", err)
    assert all(ENCODER in row["features"] for row in commands.status().values())
    assert_same_as_undisturbed(commands, manifests, "grocery")
    assert_sound(commands)

    assert_stream(commands, manifests)
    learn(commands)


def assert_sound(commands: Commands) -> None:
    """All is sound but the counts: the shared folder holds a part of the published images."""
    out, _ = commands.run("autods", "verify", "--json", code=1)
    for row in json.loads(out)["datasets"]:
        assert [row[part] for part in ("archives", "index", "features")] == ["ok"] * 3, row
        assert all("expected" in problem for problem in row["problems"])


def fetch_all(commands: Commands, server: Server) -> None:
    commands.run("autods", "fetch", "flower", code=2)
    assert server.log == []
    commands.run("autods", "fetch", "--jobs", "1", *DATASETS)  # the log then has one order
    (first, start), (again, resumed), *rest = server.log
    assert (first, start, again) == ("/17flowers.tgz", 0, "/17flowers.tgz")
    assert resumed > 0
    assert rest == [("/datasplits.mat", 0), ("/tiny-imagenet-200.zip", 0)]
    _, err = commands.run("autods", "fetch", *DATASETS)
    assert err.count("keeping") == 6
    assert len(server.log) == 4
    fetched = commands.root.archive("grocery", "GroceryStoreDataset")
    assert hash_tree(fetched) == hash_tree(RAW / "grocery")


def index_all(commands: Commands) -> None:
    out, err = commands.run("autods", "index")
    rows = [line.replace(",", "").split() for line in out.splitlines()]
    for name in DATASETS:
        assert [name, "indexed", str(SAMPLES[name]), str(CLASSES[name])] in [r[:4] for r in rows]
    # The shared folder holds a part of the published images, and the user is told.
    assert any(row[:5] == ["flowers", "test", "images", "340", "102"] for row in rows), out + err
    before = {name: hash_file(commands.root.samples(name), "sha256") for name in DATASETS}
    out, _ = commands.run("autods", "index", *DATASETS)
    assert out.count("kept") == 4
    assert before == {n: hash_file(commands.root.samples(n), "sha256") for n in DATASETS}


def assert_same_as_undisturbed(commands: Commands, manifests: Path, dataset: str) -> None:
    """Extract once more, in this process, into a root that shares only the images."""
    calm = DataRoot.open(commands.folder / "calm")
    calm.path.mkdir()
    (calm.path / "datasets").symlink_to(commands.root.path / "datasets")
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        manifest = Catalogue([manifests]).dataset(dataset)
        extract_dataset(manifest, calm, load_encoder(MODEL, random_weights=0), **SIZES)
    finally:
        torch.set_num_threads(threads)
    expected = calm.features(ENCODER, dataset)
    assert len(list(expected.glob("*.h5"))) == 14
    assert hash_tree(commands.root.features(ENCODER, dataset)) == hash_tree(expected)


def assert_stream(commands: Commands, manifests: Path) -> None:
    """Open the stream as a program does: tasks, labels and rows agree with the sample indexes."""
    stream = open_stream("four", commands.root, ENCODER, catalogue=Catalogue([manifests]))
    assert Counter(task.dataset for task in stream.tasks) == TASKS
    assert stream.n_classes == sum(CLASSES.values())
    assert [task.class_offset for task in stream.tasks[:3]] == [0, 17, 29]
    assert stream.tasks[0].class_names[0] == "Daffodil"
    for name in DATASETS:
        tasks = [task for task in stream.tasks if task.dataset == name]
        index = load_samples(commands.root, name)
        labels = index.labels()[index.rows("test")] + tasks[0].class_offset
        found = np.concatenate([task.test.labels for task in tasks])
        assert np.array_equal(np.bincount(found), np.bincount(labels))
        learning = sum(len(task.train) + len(task.dev) for task in tasks)
        assert learning + len(found) == SAMPLES[name]


def learn(commands: Commands) -> None:
    """Learn the stream with two methods; read the results as a program and as a person do."""
    run = ["bmc-stream", "run", "--scenario", "class-il", "--stream", "four", "--encoder", ENCODER]
    run += ["--method", "bmc,slda", "--out", "runs", "--json"]
    run += ["--epochs", "3", "-o", "bmc.consolidation_epochs=3", "--learning-rate", "0.003"]
    run += ["--hidden", "64", "--width", "64", "--dropout", "0", "--memory", "1000"]
    results = json.loads(commands.run(*run)[0])
    assert [result["method"] for result in results] == ["bmc", "slda"]
    for result in results:
        assert_learned(result)
    # one grid for all methods: after the groups of BMC
    assert all(result["learned"] == [8, 16, 24, 30] for result in results)
    page = (commands.folder / "runs" / "report.html").read_text("utf-8")
    assert "Deep SLDA" in page
    assert "tinyimagenet[0:10]" in page


def assert_learned(result: dict[str, Any]) -> None:
    tasks = result["tasks"]
    tested: Counter[str] = Counter()
    for task in tasks:
        tested[task["dataset"]] += task["test"]
    assert tested == TEST
    class_il, task_il = (np.array(result["R"][s][-1]) for s in ("class-il", "task-il"))
    assert (class_il <= task_il).all()
    chance = np.mean([1 / task["classes"] for task in tasks])
    assert task_il.mean() > 1.6 * chance
    assert np.mean([a > 1 / t["classes"] for a, t in zip(task_il, tasks, strict=True)]) > 0.7
    assert class_il.mean() > 5 / sum(CLASSES.values())
