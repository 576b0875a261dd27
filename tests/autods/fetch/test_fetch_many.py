"""Many datasets at once: hosts, failures, space, licences, the record."""

import json
import time
from collections.abc import Callable
from pathlib import Path
from threading import Lock, Thread
from threading import enumerate as enumerate_threads
from typing import Any

import pytest
from many_tools import content, described, manifests, published, until

from autods.core.progress import Board, Silent
from autods.core.root import DataRoot
from autods.errors import Busy, DiskFull, ManifestError, UsageError
from autods.fetch import fetch_dataset
from autods.fetch.many import fetch_many
from autods.fetch.plan import HERE, plan_dataset
from autods.fetch.report import Report
from autods.fetch.sources import base
from autods.fetch.space import free_bytes
from autods.manifest.schema import Manifest


@pytest.fixture(autouse=True)
def no_token(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("KAGGLE_CONFIG_DIR", str(tmp_path))
    for name in ("KAGGLE_API_TOKEN", "KAGGLE_USERNAME", "KAGGLE_KEY"):
        monkeypatch.delenv(name, raising=False)


class Told(Board):
    """A board that draws nothing and calls these instead."""

    def __init__(
        self,
        note: Callable[[str], None] = lambda text: None,
        ended: Callable[[], None] = lambda: None,
    ) -> None:
        super().__init__()
        self.note, self.ended = note, ended


def fetch(values: dict[str, dict[str, Any]], root: DataRoot, **options: Any) -> Report:
    return fetch_many(manifests(values), root, Board(), **options)


def states(report: Report) -> dict[str, str]:
    return {row.dataset: row.state for row in report.in_order()}


def record(root: DataRoot) -> dict[str, Any]:
    return json.loads(root.fetch_record().read_text())


def test_a_slow_host_keeps_its_share_of_the_workers_and_no_more(host, root):
    slow = published(host, "a1", "a2", "a3", "a4", at="localhost")
    quick = published(host, "b1", "b2", "b3", "b4", "b5")
    host.held = {f"{name}/a.bin" for name in slow}
    reports: list[Report] = []
    run = Thread(target=lambda: reports.append(fetch(slow | quick, root, jobs=3, per_host=2)))
    run.start()
    until(lambda: len(host.ended()) == len(quick))
    assert set(host.ended()) == {f"{name}/a.bin" for name in quick}
    assert {path for path in host.begun() if path in host.held} == {"a1/a.bin", "a2/a.bin"}
    host.release()
    run.join()
    assert set(states(reports[0]).values()) == {"done"}
    assert list(states(reports[0])) == [*slow, *quick]


def test_no_more_datasets_run_at_once_than_jobs_and_a_host_allow(host, root, monkeypatch):
    running: set[str] = set()
    most = {"all": 0, "localhost": 0}
    lock = Lock()

    def counted(manifest: Manifest, *others: Any) -> Any:
        with lock:
            running.add(manifest.name)
            most["all"] = max(most["all"], len(running))
            most["localhost"] = max(most["localhost"], sum(name[0] == "a" for name in running))
        try:
            return fetch_dataset(manifest, *others)
        finally:
            with lock:
                running.remove(manifest.name)

    monkeypatch.setattr("autods.fetch.many.fetch_dataset", counted)
    values = published(host, *[f"a{n}" for n in range(12)], at="localhost")
    values |= published(host, *[f"b{n}" for n in range(12)])
    assert len(fetch(values, root, jobs=3, per_host=2).missing) == 0
    assert most == {"all": 3, "localhost": 2}


def test_failures_are_told_by_cause_and_stop_no_other_dataset(host, root):
    values = published(host, "fine", "gone", "corrupt", "half")
    del host.files["gone/a.bin"]
    host.files["corrupt/a.bin"] = b"\xff" + content("other")
    missing = (b"never", host.url("half/b.bin"))
    whole = (content("half"), host.url("half/a.bin"))
    values["half"] = described("half", {"b.bin": missing, "a.bin": whole})
    report = fetch(values, root)
    assert states(report) == {"fine": "done", "gone": "gone", "corrupt": "corrupt", "half": "gone"}
    assert report.missing == ["gone", "corrupt", "half"]
    assert [(file.name, file.here) for file in report.rows["half"].files] == [
        ("b.bin", False),
        ("a.bin", True),
    ]
    assert "404" in report.rows["gone"].message
    assert report.steps()[report.rows["gone"].next_step] == ["gone", "half"]
    assert report.summary() == (
        "1 of 4 datasets are here, 3 are not; run the same command again to go on."
    )


def test_an_error_that_nobody_expected_is_a_row_with_its_traceback(host, root, monkeypatch):
    def broken(manifest: Manifest, *others: Any) -> Any:
        if manifest.name == "bad":
            raise KeyError("surprise at https://me:secret@example.org")
        return fetch_dataset(manifest, *others)

    monkeypatch.setattr("autods.fetch.many.fetch_dataset", broken)
    report = fetch(published(host, "bad", "fine"), root)
    assert states(report) == {"bad": "failed", "fine": "done"}
    assert report.rows["bad"].message == (
        "unexpected KeyError: 'surprise at https://example.org'; what has arrived stays."
    )
    assert str(root.fetch_record()) in report.rows["bad"].next_step
    traceback = record(root)["datasets"]["bad"]["traceback"]
    assert 'raise KeyError("surprise' in traceback
    assert "secret" not in traceback


@pytest.mark.parametrize(
    ("text", "message"), [("[]", "Move it away"), ('{"files": {"a.bin": 5}}', "unexpected")]
)
def test_a_record_that_cannot_be_read_fails_its_dataset_only(host, root, text, message):
    values = published(host, "bad", "fine")
    root.record("bad").parent.mkdir(parents=True)
    root.record("bad").write_text(text)
    report = fetch(values, root)
    assert states(report) == {"bad": "failed", "fine": "done"}
    assert message in report.rows["bad"].told()


def test_a_manifest_that_cannot_be_read_is_a_row(host, root):
    report = fetch(published(host, "fine"), root, unread={"bad": ManifestError("bad.yaml:1: no")})
    assert states(report) == {"bad": "failed", "fine": "done"}
    assert report.rows["bad"].message == "bad.yaml:1: no"


def test_running_again_fetches_only_what_is_missing(host, root):
    values = published(host, "a", "b")
    body = host.files.pop("b/a.bin")
    assert states(fetch(values, root)) == {"a": "done", "b": "gone"}
    host.files["b/a.bin"], host.log = body, []
    report = fetch(values, root)
    assert states(report) == {"a": "kept", "b": "done"}
    assert host.begun() == ["b/a.bin"]
    assert (report.rows["a"].fetched, report.rows["b"].fetched) == (0, len(body))
    assert report.summary() == "All 2 datasets are here."


def test_what_is_known_not_to_fit_is_refused_before_the_first_byte(host, root):
    values = published(host, "huge", "small", "unknown")
    values["huge"]["files"][0]["size"] = 10**18
    values["small"]["files"][0]["size"] = len(host.files["small/a.bin"])
    with pytest.raises(DiskFull) as caught:
        fetch(values, root)
    text = str(caught.value)
    for words in ("1.0 EB", "1 dataset of unknown size", "--root", "huge 1.0 EB", "are free"):
        assert words in text
    assert host.log == []
    assert not root.path.exists()
    assert states(fetch({"small": values["small"]}, root)) == {"small": "done"}


def test_a_rough_size_counts_for_an_unknown_size_and_is_never_checked(host, root, monkeypatch):
    values = published(host, "a")
    values["a"]["files"][0]["about"] = 150_000
    monkeypatch.setattr("autods.fetch.space.free_bytes", lambda _: 149_999)
    with pytest.raises(DiskFull, match=r"150\.0 kB are still to come"):
        fetch(values, root)
    monkeypatch.setattr("autods.fetch.space.free_bytes", lambda _: 150_000)
    assert states(fetch(values, root)) == {"a": "done"}
    assert root.archive("a", "a.bin").stat().st_size == 100_000


def test_parts_and_files_that_are_here_need_no_space(host, root, monkeypatch):
    values = published(host, "a", "b")
    for value in values.values():
        value["files"][0]["size"] = 100_000
    fetch({"a": values["a"]}, root)
    part = root.archive("b", "a.bin.part")
    part.parent.mkdir(parents=True)
    part.write_bytes(content("b")[:40_000])
    monkeypatch.setattr("autods.fetch.space.free_bytes", lambda _: 59_999)
    with pytest.raises(DiskFull, match=r"60\.0 kB are still to come; 60\.0 kB are free"):
        fetch(values, root)
    monkeypatch.setattr("autods.fetch.space.free_bytes", lambda _: 60_000)
    report = fetch(values, root)
    assert states(report) == {"a": "kept", "b": "done"}
    assert report.rows["b"].fetched == 60_000


def test_a_licence_gate_opens_by_name_or_for_all_and_only_before_the_download(host, root):
    gate = {"url": "https://example.org/terms", "text": "Research only."}
    values = published(host, "strict", acceptance=gate) | published(host, "open")
    report = fetch(values, root)
    row = report.rows["strict"]
    assert states(report) == {"strict": "needs acceptance", "open": "done"}
    assert row.url == "https://example.org/terms"
    assert "https://example.org/terms" in row.next_step
    assert "--accept-licence strict" in row.next_step
    assert "Research only." in row.message
    assert host.begun() == ["open/a.bin"]
    assert states(fetch(values, root, accept=["open"]))["strict"] == "needs acceptance"
    assert states(fetch(values, root, accept=["strict"]))["strict"] == "done"
    assert states(fetch(values, root))["strict"] == "kept"
    other = DataRoot(root.path / "other")
    assert states(fetch(values, other, accept=["all"]))["strict"] == "done"


def test_the_record_is_written_after_each_dataset_and_says_what_came_from_where(host, root):
    values = published(host, "slow", "quick", "gone")
    del host.files["gone/a.bin"]
    host.held = {"slow/a.bin"}
    run = Thread(target=lambda: fetch(values, root))
    run.start()
    until(lambda: root.fetch_record().exists() and record(root)["missing"] == ["slow", "gone"])
    until(lambda: record(root)["datasets"]["gone"]["state"] == "gone")
    during = record(root)
    assert during["ended"] is None
    assert during["datasets"]["slow"]["state"] == "waiting"
    host.release()
    run.join()
    after = record(root)
    assert (after["asked"], after["here"], after["missing"]) == (3, 2, ["gone"])
    assert after["began"] <= after["ended"]
    slow, gone = after["datasets"]["slow"], after["datasets"]["gone"]
    assert slow["files"] == [
        {
            "name": "a.bin",
            "here": True,
            "size": 100_000,
            "arrived": 100_000,
            "checksum": values["slow"]["files"][0]["checksum"],
            "kind": "http",
            "url": host.url("slow/a.bin"),
        }
    ]
    assert (slow["state"], slow["cause"], slow["message"]) == ("done", None, "")
    assert slow["seconds"] > 0
    assert (gone["state"], gone["cause"], gone["files"][0]["here"]) == ("gone", "gone", False)
    assert set(slow) == set(gone)


def test_an_interruption_ends_the_threads_and_begins_no_further_dataset(host, root):
    values = published(host, "quick", "slow1", "slow2", "last")
    host.held = {"slow1/a.bin", "slow2/a.bin"}
    parts = [root.archive(name, "a.bin.part") for name in ("slow1", "slow2")]
    before = set(enumerate_threads())

    def interrupt() -> None:
        until(lambda: all(part.exists() and part.stat().st_size == 50_000 for part in parts))
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fetch_many(manifests(values), root, Told(ended=interrupt), jobs=3, per_host=2)
    host.release()
    until(lambda: {thread for thread in enumerate_threads() if "work" in thread.name} <= before)
    assert not root.dataset("last").exists()
    assert [part.exists() for part in parts] == [True, True]
    assert record(root)["ended"] is None
    assert states(fetch(values, root))["last"] == "done"


def test_a_record_that_cannot_be_written_does_not_end_the_run(host, root):
    root.fetch_record().mkdir(parents=True)
    (root.fetch_record() / "in the way").touch()
    said: list[str] = []
    report = fetch_many(manifests(published(host, "a", "b")), root, Told(said.append))
    assert set(states(report).values()) == {"done"}
    assert sum("cannot be written" in text for text in said) == 1


def test_a_mirror_that_is_neither_address_nor_folder_ends_the_command(host, root):
    with pytest.raises(UsageError, match="gopher"):
        fetch(published(host, "a", "b"), root, mirrors=["gopher://x"])
    assert host.log == []


def test_the_plan_names_the_host_that_is_asked_first(host, root, tmp_path):
    (manifest,) = manifests(published(host, "a"))
    folder = tmp_path / "mirror"
    folder.mkdir()
    assert plan_dataset(manifest, root).host == "127.0.0.1"
    assert plan_dataset(manifest, root, ["https://mine.example.org/x"]).host == "mine.example.org"
    assert plan_dataset(manifest, root, [str(folder)]).host == "127.0.0.1"
    (folder / "a").mkdir()
    (folder / "a" / "a.bin").write_bytes(content("a"))
    plan = plan_dataset(manifest, root, [str(folder), "https://mine.example.org"])
    assert (plan.host, plan.size, plan.remaining) == (HERE, 100_000, 100_000)
    assert not root.path.exists()
    fetch_dataset(manifest, root, Silent(), [str(folder)])
    plan = plan_dataset(manifest, root)
    assert (plan.hosts, plan.host, plan.here, plan.remaining) == ([], HERE, 100_000, 0)


def test_a_host_that_was_down_is_asked_again_when_the_others_are_done(host, root):
    values = published(host, "down", "fine", "gone")
    del host.files["gone/a.bin"]
    host.down = {"down/a.bin": 5}  # as often as one try asks
    said: list[str] = []
    board = Told(said.append)
    report = fetch_many(manifests(values), root, board, jobs=1, pauses=[0.05, 0.05])
    assert states(report) == {"down": "done", "fine": "done", "gone": "gone"}
    assert host.begun() == ["fine/a.bin", "down/a.bin"]
    assert said[0].splitlines()[0] == "down: unreachable; trying again in 0 seconds"
    assert [text.splitlines()[0] for text in said[1:]] == [
        "fine: done (1 of 3)",
        "gone: gone (2 of 3)",
        "down: done (3 of 3)",
    ]
    assert report.rows["down"].again is None
    assert report.rows["down"].seconds > 0


def test_a_dataset_that_another_process_holds_has_another_turn(host, root, monkeypatch):
    held = ["a"]

    def busy_once(manifest: Manifest, *others: Any) -> Any:
        if manifest.name in held:
            held.remove(manifest.name)
            raise Busy("record.json is being written by process 1")
        return fetch_dataset(manifest, *others)

    monkeypatch.setattr("autods.fetch.many.fetch_dataset", busy_once)
    assert states(fetch(published(host, "a"), root, pauses=[0.01])) == {"a": "done"}


def test_the_rounds_end_and_without_further_ones_there_is_one_try(host, root):
    values = published(host, "down")
    for pauses in ([], [0.01], [0.01, 0.01]):
        host.down = {"down/a.bin": 100}
        assert states(fetch(values, root, pauses=pauses)) == {"down": "unreachable"}
        assert 100 - host.down["down/a.bin"] == 5 * (len(pauses) + 1)
    assert record(root)["datasets"]["down"]["again"] == 0


def test_a_quota_has_its_second_turn_when_all_others_have_ended(host, root):
    values = published(host, "busy", "slow", "down", "last")
    host.down = {"busy/a.bin": 5, "down/a.bin": 5}
    host.answers = {"busy/a.bin": 429}
    assert set(states(fetch(values, root, jobs=2, pauses=[0.05])).values()) == {"done"}
    assert host.begun()[-2:] == ["down/a.bin", "busy/a.bin"]


def test_what_a_host_asks_to_wait_holds_up_no_worker(host, root, monkeypatch):
    values = published(host, "asked", "b", "c")
    host.down, host.retry_after = {"asked/a.bin": 2}, 1
    monkeypatch.setattr(base, "LONGEST_WAIT", 0.5)
    began = time.monotonic()
    report = fetch(values, root, jobs=1)
    assert set(states(report).values()) == {"done"}
    assert host.begun() == ["b/a.bin", "c/a.bin", "asked/a.bin"]
    assert time.monotonic() - began >= 2


def test_a_host_that_asks_for_more_than_an_hour_is_not_waited_for(host, root):
    values = published(host, "asked")
    host.down, host.retry_after = {"asked/a.bin": 2}, 3601
    report = fetch(values, root, pauses=[0.01])
    assert states(report) == {"asked": "unreachable"}
    assert "it asks to wait 3601 s" in report.rows["asked"].message
    assert report.rows["asked"].again == 3601


def test_of_several_mirrors_one_that_may_come_back_is_worth_another_round(host, root):
    values = published(host, "a")
    mirrors = values["a"]["files"][0]["mirrors"]
    mirrors.append({"kind": "kaggle-competition", "url": "no-token"})
    host.down = {"a/a.bin": 5}
    assert states(fetch(values, root, pauses=[0.01])) == {"a": "done"}


def test_an_interruption_during_a_pause_ends_all_threads_at_once(host, root):
    values = published(host, "down", "fine")
    host.down = {"down/a.bin": 100}
    before = set(enumerate_threads())

    def interrupt(text: str) -> None:
        if "trying again in 60 minutes" in text:
            raise KeyboardInterrupt

    began = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        fetch_many(manifests(values), root, Told(interrupt), jobs=3, pauses=[3600.0])
    assert time.monotonic() - began < 10
    until(lambda: {thread for thread in enumerate_threads() if "work" in thread.name} <= before)
    assert record(root)["datasets"]["down"]["state"] == "unreachable"
    assert record(root)["ended"] is None


@pytest.mark.parametrize(
    ("kind", "url", "expected"),
    [
        ("git", "https://github.com/a/b.git", "github.com"),
        ("git", "git@example.org:a/b.git", "example.org"),
        ("git", "/data/a.git", HERE),
        ("git", "file:///data/a.git", HERE),
        ("ftp", "ftp://user:secret@ftp.example.org/a", "ftp.example.org"),
        ("kaggle", "a/b@3", "kaggle.com"),
        ("kaggle-competition", "c", "kaggle.com"),
        ("gdrive", "0123456789abc", "drive.google.com"),
        ("huggingface", "a/b@main:c.zip", "huggingface.co"),
    ],
)
def test_every_kind_of_mirror_has_a_host(root, kind, url, expected):
    value = described("a", {"a.bin": (b"", "http://x")})
    checksum = {"checksum": "git:" + "0" * 40} if kind == "git" else {}
    value["files"][0] |= {"mirrors": [{"kind": kind, "url": url}], **checksum}
    assert plan_dataset(Manifest.model_validate(value), root).host == expected


def test_free_space_is_that_of_the_nearest_folder_that_exists(tmp_path):
    assert free_bytes(DataRoot(tmp_path / "not" / "yet")) > 0
