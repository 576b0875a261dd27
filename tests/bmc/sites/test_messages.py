"""Each kind of bad message gets an error that names it, and nothing is written."""

import os
import pickle
import random
import re
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from site_files import changed, first_base, message, next_base, opened

from autods.errors import AutodsError, FeatureMismatch, UnknownName, UsageError
from bmc.methods import buffer_message
from bmc.sites.consolidate import consolidate
from bmc.sites.errors import (
    DoubledMessage,
    ForeignMessage,
    LateMessage,
    MessagesMissing,
    SiteFileDamaged,
)
from bmc.sites.evaluate import measure
from bmc.sites.expert import train_expert
from bmc.sites.file import open_file, write_file
from bmc.sites.headers import BaseHeader, MessageHeader, PlannedTask
from bmc.sites.model import centre_path, open_base, open_whole

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def bmc(tmp_path_factory) -> tuple[Path, Path, Path]:
    """A base of BMC, and the messages about the two tasks of its first group."""
    base = first_base(tmp_path_factory.mktemp("bmc") / "base")
    return base, message(base, "aircraft"), message(base, "apparel")


@pytest.fixture(scope="module")
def second(bmc) -> tuple[Path, Path]:
    """The base after the first group, and the message about the third task."""
    base, *messages = bmc
    after = base.with_name("second")
    consolidate(base, messages, after)
    return after, message(after, "aptos2019")


@pytest.fixture(scope="module")
def analytic(tmp_path_factory) -> tuple[Path, Path, Path]:
    base = first_base(tmp_path_factory.mktemp("analytic") / "base", "bmc-analytic")
    return base, message(base, "aircraft"), message(base, "apparel")


def refused(kind: type[AutodsError], base: Path, *messages: Path) -> str:
    """Return the message of the error, of exactly this kind; no file may be left."""
    before = {p: p.read_bytes() for p in base.parent.iterdir()}
    with pytest.raises(AutodsError) as caught:
        consolidate(base, messages, base.with_name("refused"))
    assert type(caught.value) is kind, caught.value
    assert {p: p.read_bytes() for p in base.parent.iterdir()} == before
    text = str(caught.value)
    assert "nothing" in text
    assert text.isprintable()
    return text


@pytest.mark.parametrize("share", [0, 4, 8, 100, 0.3, 0.9, -1])
def test_a_message_that_is_cut_short_is_damaged(bmc, tmp_path, share):
    base, good, other = bmc
    data = good.read_bytes()
    bad = tmp_path / "cut"
    bad.write_bytes(data[: int(share * len(data)) if isinstance(share, float) else share])
    assert "expected a message" in refused(SiteFileDamaged, base, bad, other)


def test_a_message_with_more_bytes_than_were_written_is_damaged(bmc, tmp_path):
    base, good, other = bmc
    bad = tmp_path / "long"
    bad.write_bytes(good.read_bytes() + b"\0")
    assert "bytes of" in refused(SiteFileDamaged, base, bad, other)


def test_a_flipped_bit_is_found_wherever_it_is(bmc, analytic, tmp_path):
    draws = random.Random(0)
    for base, good, _ in (bmc, analytic):
        data = good.read_bytes()
        head = 8 + int.from_bytes(data[:8], "little")
        places = [*range(8), *draws.sample(range(8, head), 80)]
        places += draws.sample(range(head, len(data)), 20)
        for place in places:
            bad = bytearray(data)
            bad[place] ^= 1 << draws.randrange(8)
            (tmp_path / "flipped").write_bytes(bad)
            refused(SiteFileDamaged, base, tmp_path / "flipped")


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("text", b"a message"),
        ("pickle", pickle.dumps({"buffer.features": [1.0]})),
        ("zip", b"PK\x03\x04" + bytes(100)),
        ("header", (2).to_bytes(8, "little") + b"{}"),
        ("list", (2).to_bytes(8, "little") + b"[]"),
        ("deep", (100_000).to_bytes(8, "little") + b"[" * 100_000),
        ("huge header", (1 << 62).to_bytes(8, "little") + b"{}"),
        ("twice", (14).to_bytes(8, "little") + b'{"a":1,"a":2} '),
    ],
)
def test_something_else_is_no_message(bmc, tmp_path, name, content):
    base, _, other = bmc
    (tmp_path / name).write_bytes(content)
    assert "something else" in refused(SiteFileDamaged, base, tmp_path / name, other)


def test_a_checkpoint_or_a_tensor_that_claims_terabytes_is_no_message(bmc, tmp_path):
    from safetensors.torch import save_file

    base, _, other = bmc
    save_file({"net.weights": torch.zeros(3)}, tmp_path / "checkpoint")
    refused(SiteFileDamaged, base, tmp_path / "checkpoint", other)
    entry = b'{"a":{"dtype":"F32","shape":[1000000,1000000],"data_offsets":[0,4000000000000]}}'
    (tmp_path / "claims").write_bytes(len(entry).to_bytes(8, "little") + entry)
    refused(SiteFileDamaged, base, tmp_path / "claims", other)


def test_a_base_is_no_message_and_a_message_no_base(bmc):
    base, good, other = bmc
    assert "got a base" in refused(SiteFileDamaged, base, base, other)
    with pytest.raises(SiteFileDamaged, match="got a message"):
        train_expert(good, "aircraft", base.with_name("never"))
    with pytest.raises(UsageError, match="no such file"):
        consolidate(base, [base.with_name("nowhere")], base.with_name("never"))


N = 24  # samples of a buffer
FORGED = [
    ("float32 features", {"buffer.features": torch.ones(N, 512)}, "expected float16, got float32"),
    ("labels of int64", {"buffer.labels": torch.zeros(N, dtype=torch.int64)}, "got int64"),
    ("other width", {"buffer.features": torch.ones(N, 513).half()}, "shape [24, 512]"),
    ("other phi", {"buffer.phi": torch.ones(N, 256).half()}, "640"),
    ("one dimension", {"buffer.phi": torch.ones(N).half()}, "640"),
    ("no phi", {"buffer.phi": None}, "expected the tensors"),
    ("one more", {"own": torch.ones(2)}, "got buffer.features"),
    ("fewer labels", {"buffer.labels": torch.zeros(N - 1, dtype=torch.int32)}, "[24]"),
    ("class beyond", {"buffer.labels": torch.full((N,), 70, dtype=torch.int32)}, "below 70"),
    ("class below", {"buffer.labels": torch.full((N,), -1, dtype=torch.int32)}, "below 70"),
    ("one class", {"buffer.labels": torch.full((N,), 3, dtype=torch.int32)}, "no more samples"),
    ("infinite", {"buffer.features": torch.full((N, 512), torch.inf).half()}, "finite"),
    ("not a number", {"buffer.phi": torch.full((N, 640), torch.nan).half()}, "finite"),
    (
        "more than asked for",
        {
            "buffer.features": torch.ones(N + 1, 512).half(),
            "buffer.labels": torch.arange(N + 1, dtype=torch.int32),
            "buffer.phi": torch.ones(N + 1, 640).half(),
        },
        "1 to 24",
    ),
]


@pytest.mark.parametrize(("tensors", "text"), [f[1:] for f in FORGED], ids=[f[0] for f in FORGED])
def test_tensors_of_another_form_are_refused_however_well_signed(bmc, tensors, text):
    base, good, other = bmc
    order = ["buffer.features", "buffer.labels", "buffer.phi"]
    tensors = {name: tensors[name] for name in sorted(tensors, key=lambda n: n in order)}
    said = refused(SiteFileDamaged, base, changed(good, tensors), other)
    assert text in said or "expected the shape" in said


@pytest.mark.parametrize(
    ("tensors", "text"),
    [
        ({"counts": torch.full((6,), 14, dtype=torch.int32)}, "that its header states"),
        ({"counts": torch.full((6,), 14)}, "expected int32, got int64"),
        ({"values": torch.full((8,), -1.0)}, "no number below 0"),
        ({"rest": torch.tensor(torch.nan)}, "finite"),
        ({"vectors": torch.ones(9, 512).half()}, "expected the shape"),
        ({"vectors": None, "values": None, "rest": None}, "expected the tensors"),
        ({"covariance": torch.ones(3).half()}, "expected the tensors"),
        ({"row_labels": torch.full((12,), 6, dtype=torch.int16)}, "below 6"),
        ({"rows": torch.ones(13, 512, dtype=torch.int8)}, "expected the shape"),
        ({"network": torch.ones(5).half()}, "expected the tensors"),
    ],
)
def test_statistics_of_another_form_are_refused(analytic, tensors, text):
    base, first, good = analytic
    assert text in refused(SiteFileDamaged, base, changed(good, tensors), first)


@pytest.mark.parametrize(
    ("header", "text"),
    [
        ({"format": 2}, "format 2"),
        ({"learned": "0"}, "'learned'"),
        ({"learned": -1}, "'learned'"),
        ({"steps": [1.5]}, "'steps.0'"),
        ({"counts": [1]}, "expected 70 counts"),
        ({"classes": ["a"] * 70}, "each class once"),
        ({"classes": []}, "'classes'"),
        ({"classes": ["\x1b[2J"] * 70}, "control characters"),
        ({"task": ""}, "'task'"),
        ({"task": "x" * 2000}, "'task'"),
        ({"plan": "0" * 63}, "'plan'"),
        ({"encoder": None}, "'encoder'"),
        ({"part": 0}, "'part'"),
        ({"part": 2}, "expected a part of 1"),
    ],
)
@pytest.mark.filterwarnings("ignore:Pydantic serializer warnings")
def test_headers_that_no_expert_writes_are_refused(bmc, header, text):
    base, good, other = bmc
    assert text in refused(SiteFileDamaged, base, changed(good, **header), other)


def test_numbers_of_samples_must_agree_with_the_message(bmc, analytic):
    base, good, other = bmc
    few = changed(good, counts=[0] * 70)
    assert "shape" in refused(SiteFileDamaged, base, few, other)
    few = changed(good, counts=[24] + [0] * 69)
    assert "no more samples of a class" in refused(SiteFileDamaged, base, few, other)
    base, first, good = analytic
    counts = opened(good).header.counts
    off = changed(good, counts=[counts[0] + 1, *counts[1:]])
    assert "that its header states" in refused(SiteFileDamaged, base, off, first)


@pytest.mark.parametrize(
    ("make", "text"),
    [
        ({"method": "bmc-analytic"}, "another method: expected bmc, got bmc-analytic"),
        ({"method": "bmc-gaussian"}, "another method: expected bmc, got bmc-gaussian"),
        ({"seed": 1}, "another configuration"),
        ({"tasks": 2}, "another stream"),
        ({"order": 0}, "about task 'zalando', which this base does not have"),
    ],
)
def test_a_message_of_another_base_is_foreign_and_says_in_what(bmc, tmp_path, make, text):
    base, _, other = bmc
    own = first_base(tmp_path / "own", **make)
    task = open_base(own, CPU).plan.tasks[0].name
    assert text in refused(ForeignMessage, base, message(own, task), other)


def planned(base: Path, out: Path, *tasks: PlannedTask, **plan: object) -> Path:
    """Write a base of the same kind with another plan."""
    header = open_file(base, BaseHeader).header
    made = header.plan.model_copy(update={"tasks": list(tasks) or header.plan.tasks, **plan})
    net = open_base(base, CPU).file.tensors()
    write_file(out, header.model_copy(update={"plan": made}), net)
    return out


def test_a_message_of_another_encoder_is_foreign(bmc, tmp_path):
    base, good, other = bmc
    mine = changed(good, encoder={"model": "mine", "weights": "1234"})
    assert "another encoder than" in refused(ForeignMessage, base, other, mine)
    named = changed(good, encoder_name="ViT-B-32.openai", plan="0" * 64)
    assert "another encoder: expected None" in refused(ForeignMessage, base, named, other)
    versions = changed(good, encoder=opened(good).header.encoder | {"torch": "1.0"})
    assert next_base(base, versions, other).learned == 2  # last bits, not another encoder


def test_a_message_with_an_unknown_class_or_without_a_known_one_is_foreign(bmc, tmp_path):
    base, good, other = bmc
    header = opened(good).header
    known, plan = header.classes, "0" * 64
    strange = changed(good, plan=plan, classes=[*known[:-1], "zeppelin"])
    assert "classes that 'aircraft' does not have here: 'zeppelin'" in refused(
        ForeignMessage, base, strange, other
    )
    fewer = changed(good, plan=plan, classes=known[:-1], counts=header.counts[:-1])
    assert f"without classes that 'aircraft' has here: '{known[-1]}'" in refused(
        ForeignMessage, base, fewer, other
    )
    unlike = changed(good, classes=[*known[:-1], "zeppelin"])  # its plan has other ones
    assert "classes" in refused(SiteFileDamaged, base, unlike, other)
    nowhere = changed(good, task="zeppelins")
    assert "its own plan does not have" in refused(SiteFileDamaged, base, nowhere, other)


def test_late_messages_are_told_apart(bmc, second, tmp_path):
    base, aircraft, apparel = bmc
    after, aptos = second
    assert "was taken in before" in refused(LateMessage, after, aircraft, aptos)
    again = changed(apparel, steps=[7])
    assert "task 'apparel' is learned already" in refused(LateMessage, after, aptos, again)
    early = changed(aptos, base=opened(aircraft).header.base, learned=0)
    assert "from an older base, which had learned 0 tasks" in refused(LateMessage, after, early)
    newer = changed(aircraft, base=opened(aptos).header.base, learned=2)
    assert "had learned 2 tasks and is not this one" in refused(
        ForeignMessage, base, newer, apparel
    )
    with pytest.raises(LateMessage, match="learned already"):
        train_expert(after, "aircraft", tmp_path / "late")
    with pytest.raises(UsageError, match="learned later"):
        train_expert(base, "aptos2019", tmp_path / "early")
    assert list(tmp_path.iterdir()) == []


def test_doubled_and_missing_messages_are_told_by_name(bmc, second, tmp_path):
    base, aircraft, apparel = bmc
    copy = tmp_path / "copy"
    copy.write_bytes(aircraft.read_bytes())
    assert "are the same message about task 'aircraft'" in refused(
        DoubledMessage, base, aircraft, apparel, copy
    )
    other = changed(aircraft, steps=[3])
    assert "are different messages about task 'aircraft'" in refused(
        DoubledMessage, base, aircraft, other
    )
    assert "none is about 'apparel'" in refused(MessagesMissing, base, aircraft)
    with pytest.raises(UsageError, match="got none"):
        consolidate(base, [], base.with_name("never"))
    done = base.with_name("done")
    consolidate(second[0], [second[1]], done)
    with pytest.raises(UsageError, match="has learned all 3 tasks"):
        consolidate(done, [second[1]], base.with_name("never"))


def test_parts_of_a_task_give_what_one_message_about_it_gives(tmp_path):
    base = first_base(tmp_path / "base", expert_rows=40)
    parts = [message(base, "apparel", part=number) for number in (1, 2, 3)]  # of 90 samples
    aircraft, whole = message(base, "aircraft"), message(base, "apparel")
    assert [opened(part).header.parts for part in parts] == [3, 3, 3]
    assert len(opened(whole).header.steps) == 3
    one, two = tmp_path / "one", tmp_path / "two"
    consolidate(base, [aircraft, whole], one)
    consolidate(base, [parts[2], aircraft, parts[0], parts[1]], two)
    for path in (lambda base: base, centre_path):
        ours, theirs = load_file(path(one)), load_file(path(two))
        assert all(torch.equal(ours[name], theirs[name]) for name in ours)

    said = refused(MessagesMissing, base, aircraft, parts[0], parts[2])
    assert "part 2 of 3 of 'apparel'" in said
    said = refused(DoubledMessage, base, aircraft, *parts, changed(parts[1], steps=[99]))
    assert "are different messages about task 'apparel'" in said
    said = refused(DoubledMessage, base, aircraft, *parts, whole)
    assert "are of 3 and of 1 messages" in said
    counts = [c + 1 for c in opened(parts[1]).header.counts]
    said = refused(DoubledMessage, base, aircraft, parts[0], changed(parts[1], counts=counts))
    assert "parts of different data" in said
    with pytest.raises(UsageError, match="one of the 3 parts into which expert_rows cuts the 90"):
        message(base, "apparel", part=4)
    base = first_base(tmp_path / "large", expert_rows=1000)
    with pytest.raises(UsageError, match=r"'apparel' with 90 samples is not; .* Leave --part out"):
        message(base, "apparel", part=2)


def test_a_task_is_not_cut_into_more_parts_than_a_centre_takes(tmp_path, monkeypatch):
    monkeypatch.setattr(buffer_message, "MOST_PARTS", 2)
    base = first_base(tmp_path / "base", expert_rows=40)
    with pytest.raises(UsageError, match="into 3 parts, expected at most 2; nothing was trained"):
        message(base, "apparel")


def test_an_error_names_some_of_many_missing_parts(bmc):
    base, aircraft, apparel = bmc
    said = refused(MessagesMissing, base, aircraft, changed(apparel, parts=10_000, part=3))
    assert "part 6 of 10000 of 'apparel', part 7 of 10000 of 'apparel' and 9993 more" in said


@pytest.mark.parametrize(
    ("make", "got"),
    [(Path.mkdir, "a folder"), (os.mkfifo, "a pipe or a device"), (Path.resolve, "no such file")],
)
def test_what_is_no_file_is_told_as_what_it_is(bmc, tmp_path, make, got):
    make(tmp_path / "odd")
    with pytest.raises(UsageError, match=f"odd: expected a base, got {got}; nothing was done"):
        message(tmp_path / "odd", "aircraft", tmp_path)
    with pytest.raises(UsageError, match=f"odd: expected a message, got {got}; nothing was done"):
        consolidate(bmc[0], [tmp_path / "odd"], tmp_path / "next")


def test_generated_data_have_one_name_everywhere(bmc, tmp_path):
    with pytest.raises(UsageError, match=r"expected apparel, .* got 'aircraft'; nothing was done"):
        train_expert(bmc[0], "aircraft", tmp_path / "out", task="apparel")


def test_a_method_that_cuts_no_task_has_no_parts(analytic):
    with pytest.raises(UsageError, match="does not cut tasks"):
        message(analytic[0], "apparel", part=1)


def test_messages_of_a_method_without_a_base_model_may_come_for_several_groups(analytic, tmp_path):
    base, aircraft, apparel = analytic
    aptos = message(base, "aptos2019")
    assert "none is about 'apparel'" in refused(MessagesMissing, base, aircraft, aptos)
    assert next_base(base, aptos, apparel, aircraft).learned == 3
    after = base.with_name("after-one")
    consolidate(base, [aircraft], after)
    assert "was taken in before" in refused(LateMessage, after, aircraft, apparel)
    assert next_base(after, apparel, aptos).learned == 3  # made from the base before


@pytest.mark.parametrize("method", ["bmc", "analytic"])
def test_the_centre_numbers_classes_by_their_names(request, method):
    base, good, other = request.getfixturevalue(method)
    before = opened(good)
    order = torch.randperm(len(before.header.classes), generator=torch.Generator().manual_seed(0))
    inverse = torch.argsort(order)  # class order[j] of the message becomes its class j
    tensors = {}
    for name, tensor in before.tensors().items():
        if name.endswith("labels"):
            tensors[name] = inverse[tensor.long()].to(tensor.dtype)
        elif name in ("counts", "means", "weight", "bias"):
            tensors[name] = tensor[order]
    header = before.header
    renamed = changed(
        good, tensors, classes=[header.classes[k] for k in order],
        counts=[header.counts[k] for k in order],
    )  # fmt: skip
    one, two = base.with_name("by-number"), base.with_name("by-name")
    consolidate(base, [good, other], one)
    consolidate(base, [renamed, other], two)
    for path in (lambda base: base, centre_path):
        ours, theirs = load_file(path(one)), load_file(path(two))
        assert ours.keys() == theirs.keys()
        assert all(torch.equal(ours[name], theirs[name]) for name in ours)


def test_a_damaged_base_trains_nobody(bmc, tmp_path):
    base = bmc[0]
    data = base.read_bytes()
    for place in (3, 200, 2000, len(data) - 5):
        bad = bytearray(data)
        bad[place] ^= 4
        (tmp_path / "bad").write_bytes(bad)
        with pytest.raises(SiteFileDamaged, match="expected a base"):
            train_expert(tmp_path / "bad", "aircraft", tmp_path / "never")
    assert not (tmp_path / "never").exists()


def test_a_plan_of_a_giant_network_is_refused_before_one_is_made(bmc, tmp_path):
    config = open_base(bmc[0], CPU).plan.config | {"width": 10**7}
    planned(bmc[0], tmp_path / "giant", config=config)
    with pytest.raises(SiteFileDamaged, match=r"net.weights: expected the shape"):
        open_base(tmp_path / "giant", CPU)


@pytest.mark.parametrize(
    "change",
    [{"epochs": "many"}, {"epochs": 0}, {"unheard_of": 1}, {"options": {}, "seed": None}],
)
def test_a_plan_without_a_configuration_is_refused(bmc, tmp_path, change):
    config = open_base(bmc[0], CPU).plan.config | change
    planned(bmc[0], tmp_path / "odd", config=config)
    with pytest.raises(SiteFileDamaged, match="a plan that is none"):
        open_base(tmp_path / "odd", CPU)


def test_what_the_centre_keeps_must_be_that_of_the_base(bmc, second, tmp_path):
    after, kept = tmp_path / "base", tmp_path / "base.centre"
    after.write_bytes(second[0].read_bytes())
    with pytest.raises(UsageError, match="It never leaves the centre"):
        open_whole(after, CPU)
    data = bytearray(centre_path(second[0]).read_bytes())
    kept.write_bytes(data)
    assert open_whole(after, CPU)[0].learned == 2
    data[-1] ^= 1
    kept.write_bytes(data)
    with pytest.raises(SiteFileDamaged, match="bits changed on the way"):
        open_whole(after, CPU)
    kept.write_bytes(centre_path(bmc[0].with_name("by-number")).read_bytes()[:500])
    with pytest.raises(SiteFileDamaged):
        open_whole(after, CPU)


def test_experts_get_the_network_and_nothing_of_other_sites(second):
    assert set(load_file(second[0])) == {"net.weights", "net.statistics"}
    assert {"memory.features", "memory.labels"} <= set(load_file(centre_path(second[0])))


def test_an_expert_refuses_what_is_not_of_its_base(bmc, tmp_path):
    base = bmc[0]
    with pytest.raises(UnknownName, match="did you mean aircraft"):
        train_expert(base, "aircarft", tmp_path / "never")
    with pytest.raises(UsageError, match="this one exists"):
        train_expert(base, "aircraft", bmc[1])
    own = open_file(base, BaseHeader)
    odd = tmp_path / "odd"
    write_file(odd, own.header.model_copy(update={"encoder": {"model": "x"}}), own.tensors())
    with pytest.raises(FeatureMismatch, match="the encoder that the other sites use"):
        train_expert(odd, "aircraft", tmp_path / "never")


def test_a_message_is_the_same_bytes_whenever_it_is_made(bmc, tmp_path):
    base, good, _ = bmc
    assert message(base, "aircraft", tmp_path).read_bytes() == good.read_bytes()
    assert isinstance(opened(good).header, MessageHeader)


def test_datasets_that_no_task_has_are_told_in_one_line(second):
    (note, late) = measure(second[0], "synthetic").notes
    assert re.fullmatch(r"in no task of the base: (\w+, ){4}\w+ and 6\d more", note)
    assert late == "not learned yet: aptos2019"
