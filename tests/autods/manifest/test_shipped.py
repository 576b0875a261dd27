"""What the shipped manifests say, looked at all together."""

import re

import pytest

from autods.features.templates import readable_names
from autods.manifest.catalogue import Catalogue
from autods.manifest.schema import Manifest, TaskSpec

NAMES = Catalogue().datasets()


@pytest.fixture(scope="module", params=NAMES)
def manifest(request: pytest.FixtureRequest) -> Manifest:
    return Catalogue().dataset(request.param)


def test_every_class_that_a_manifest_lists_reads_as_words_of_its_own(manifest):
    for task, spec in manifest.tasks.items():
        if (names := spec.names()) is None:
            continue
        read = readable_names(names, spec.readable)
        assert len(set(read)) == len(read), f"{task}: two classes read alike"
        codes = [name for name in read if not re.search(r"[^\W\d_]{3,}", name)]
        assert codes == [], f"{task}: numbers or codes, give them 'readable' names"


def test_every_file_has_a_size_and_one_that_is_not_exact_says_whose_it_is(manifest):
    for entry in manifest.files:
        assert entry.roughly, entry.name
        assert entry.size is not None or entry.stated_by, entry.name


def test_a_kaggle_dataset_is_pinned_or_says_which_versions_are_known(manifest):
    unknown = {"art", "cinic10", "deepweedsx", "handwritten", "kvasircapsule", "manga"}
    unknown |= {"minerals", "oxford", "rock", "santa", "satellite"}
    for entry in manifest.files:
        for mirror in entry.mirrors:
            if mirror.kind == "kaggle" and manifest.name not in unknown:
                assert "@" in mirror.url or mirror.versions
                assert mirror.stated_by


def test_readable_names_change_no_fingerprint_and_belong_to_classes():
    manifest = Catalogue().dataset("gtsrb")
    spec = manifest.tasks["class"]
    plain = manifest.model_copy(
        update={"tasks": {"class": spec.model_copy(update={"readable": {}})}}
    )
    assert plain.fingerprint() == manifest.fingerprint()
    assert (spec.readable["14"], spec.names()[14]) == ("stop sign", "14")
    with pytest.raises(ValueError, match=r"readable: unknown class 'dgo'.*did you mean dog"):
        TaskSpec(classes=["cat", "dog"], readable={"dgo": "dog"})
