"""The public face: what `import autods` and `import bmc` offer, load, and tell an editor."""

import ast
import inspect
import subprocess
import sys
from importlib import import_module
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from PIL import Image

import autods
from autods.errors import DatasetsFailed, FetchError, UnknownName, UsageError
from autods.manifest.new.folder import manifest_from_folder

PACKAGES = ["autods", "bmc"]
HEAVY = {
    *("h5py", "httpx", "numpy", "pandas", "pyarrow", "pydantic", "rich", "torch", "typer", "yaml"),
}
MODEL = "timm:test_efficientnet"


def function_of(value: object) -> object:
    return inspect.unwrap(value) if callable(value) else value


@pytest.mark.parametrize("name", PACKAGES)
def test_importing_a_package_loads_nothing_heavy_and_takes_less_than_50_ms(name):
    code = (
        "import time; began = time.perf_counter()\n"
        f"import {name}; spent = time.perf_counter() - began\n"
        "import sys; print(spent, *sys.modules)"
    )
    seconds = []
    for _ in range(5):
        spent, *loaded = subprocess.check_output([sys.executable, "-c", code], text=True).split()
        assert not HEAVY.intersection(loaded)
        seconds.append(float(spent))
    assert min(seconds) < 0.05


@pytest.mark.parametrize("name", PACKAGES)
def test_every_public_name_exists_and_has_a_docstring(name):
    package = import_module(name)
    assert dir(package) == sorted(package.__all__)
    for public in package.__all__:
        value = getattr(package, public)
        assert isinstance(value, str) or (inspect.getdoc(value) or "").strip(), public
    with pytest.raises(AttributeError, match=f"module '{name}' has no attribute 'nothing'"):
        package.nothing  # noqa: B018  (asking for it is the test)


@pytest.mark.parametrize("name", PACKAGES)
def test_the_stub_and_the_package_agree_on_names_and_signatures(name):
    package = import_module(name)
    stub = ast.parse(Path(str(package.__file__)).with_suffix(".pyi").read_text())
    offered = {}
    for node in stub.body:
        if isinstance(node, ast.ImportFrom):
            for alias in node.names:
                assert alias.asname == alias.name  # that is how a stub offers a name
                home = import_module(str(node.module))
                offered[alias.name] = getattr(home, alias.name)
    (listed,) = (node.value for node in stub.body if isinstance(node, ast.Assign))
    assert sorted(offered) == sorted(ast.literal_eval(listed)) == sorted(package.__all__)
    for public, value in offered.items():
        assert function_of(getattr(package, public)) is function_of(value), public
        if inspect.isfunction(value):
            assert inspect.signature(getattr(package, public)) == inspect.signature(value)


def test_a_package_that_is_a_verb_stays_a_package():
    import autods.fetch.many

    assert isinstance(autods.fetch, ModuleType) and callable(autods.fetch)
    assert list(inspect.signature(autods.fetch).parameters)[:2] == ["names", "root"]
    assert autods.fetch.many.fetch_many.__name__ == "fetch_many"


@pytest.fixture
def catalogue(tmp_path: Path) -> autods.Catalogue:
    """Return two datasets of drawn images, and one whose archive is nowhere."""
    for name in ("ants", "bees"):
        for number in range(24):
            folder = tmp_path / name / f"class {number % 2}"
            folder.mkdir(parents=True, exist_ok=True)
            grey = np.full((16, 16, 3), 8 * number + len(name), np.uint8)
            Image.fromarray(grey).save(folder / f"{number}.png")
        manifest_from_folder(name, tmp_path / name, tmp_path / "manifests")
    text = (tmp_path / "manifests" / "ants.yaml").read_text()
    (tmp_path / "manifests" / "gone.yaml").write_text(text.replace("ants", "gone"))
    return autods.Catalogue([tmp_path / "manifests"])


def test_datasets_are_fetched_indexed_extracted_and_loaded(catalogue, tmp_path, capsys):
    root = autods.DataRoot.open(tmp_path / "root")
    where = {"root": root, "catalogue": catalogue, "quiet": True}
    report = autods.fetch(["ants", "bees"], **where)
    assert [row.state for row in report.rows.values()] == ["done", "done"]
    assert autods.fetch("ants", **where).rows["ants"].state == "kept"
    summaries = autods.index(**where)  # all that is fetched
    assert {name: done.samples for name, done in summaries.items()} == {"ants": 24, "bees": 24}
    outcomes = autods.extract("ants", model=MODEL, random_weights=0, workers=0, **where)
    encoder = outcomes["ants"].encoder
    assert capsys.readouterr().err == ""  # quiet

    ants = autods.load("ants", encoder, root=tmp_path / "root", catalogue=catalogue)
    assert ants.class_names == ["class 0", "class 1"]
    train = autods.load("ants", encoder, "train", root=root, catalogue=catalogue)
    assert isinstance(train, autods.FeatureSet)
    np.testing.assert_array_equal(train.features, ants.train.features)
    stream = autods.open_stream("ants", root, encoder, catalogue=catalogue)
    np.testing.assert_array_equal(stream.tasks[0].train.labels, train.labels)

    with pytest.raises(UnknownName, match="unknown split 'val'; known: dev, test, train"):
        autods.load("ants", encoder, "val", root=root, catalogue=catalogue)
    with pytest.raises(UnknownName, match="unknown dataset 'ant'; did you mean ants"):
        autods.load("ant", encoder, root=root, catalogue=catalogue)


def test_one_failure_is_its_own_error_and_of_several_the_others_are_done(catalogue, tmp_path):
    where = {"root": tmp_path / "root", "catalogue": catalogue, "quiet": True}
    with pytest.raises(FetchError, match="gone"):
        autods.fetch("gone", **where)
    with pytest.raises(DatasetsFailed, match="gone: ") as caught:
        autods.fetch(["gone", "ants"], **where)
    assert list(caught.value.failures) == ["gone"]
    assert caught.value.outcomes.rows["ants"].state == "done"
    with pytest.raises(DatasetsFailed) as caught:
        autods.index(["gone", "ants"], **where)
    assert list(caught.value.failures) == ["gone"] and list(caught.value.outcomes) == ["ants"]


def test_without_names_and_without_anything_fetched_the_next_step_is_named(tmp_path):
    with pytest.raises(UsageError, match=r"none is fetched under .*Start with autods\.fetch"):
        autods.index(root=tmp_path)


def test_the_names_of_datasets_are_those_of_the_catalogue_or_of_a_stream():
    assert autods.datasets() == autods.Catalogue().datasets()
    assert len(autods.datasets("stream71")) == 71
