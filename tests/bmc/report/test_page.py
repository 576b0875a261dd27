"""What a reader can ask the page: classes, datasets, settings, the way to repeat it."""

import json
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from report_runs import CLASS_NAMES, answered, configured, make_results, many, right, stored, write

from autods.errors import UsageError
from bmc.report import build_report, group, load_runs
from bmc.report.answers import answers_of, cell
from bmc.report.confusion import Classes
from bmc.report.finished import read_run
from bmc.report.looks import entries
from bmc.report.row_charts import _ends, _whole_ticks
from bmc.report.settings import commands, finished, side_by_side


class Headings(HTMLParser):
    """Collects levels of headings, tables with their captions and headers, rows of cells."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.levels: list[int] = []
        self.tables: dict[str, list[list[str]]] = {}
        self.captions: dict[str, str] = {}
        self._name = ""
        self._text: list[str] | None = None
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list) -> None:
        given = dict(attrs)
        if re.fullmatch("h[1-6]", tag):
            self.levels.append(int(tag[1]))
        elif tag == "table":
            self._name = given["data-name"]
            self.tables[self._name] = []
        elif tag == "tr":
            self.tables[self._name].append([])
        if tag in ("th", "td", "caption"):
            self._text = []

    def handle_endtag(self, tag: str) -> None:
        if tag in ("th", "td", "caption") and self._text is not None:
            text = " ".join("".join(self._text).split())
            if tag == "caption":
                self.captions[self._name] = text
            else:
                self.tables[self._name][-1].append(text)
            self._text = None

    def handle_data(self, data: str) -> None:
        if self._text is not None:
            self._text.append(data)


@pytest.fixture(scope="module")
def folders(tmp_path_factory) -> list[Path]:
    """Two methods in two orders that kept their answers."""
    root = tmp_path_factory.mktemp("answers")
    return [
        answered(root / f"{method}-{order}", method, share, order)
        for method, share in (("good", 0.9), ("poor", 0.4)) for order in (0, 1)
    ]  # fmt: skip


@pytest.fixture(scope="module")
def page(folders, tmp_path_factory) -> Headings:
    path = build_report(folders, tmp_path_factory.mktemp("page") / "report.html")
    return Headings(path.read_text(encoding="utf-8"))


def test_headings_skip_no_level_and_every_table_has_a_caption(page):
    assert page.levels[0] == 1
    assert all(b - a <= 1 for a, b in zip(page.levels, page.levels[1:], strict=False))
    assert page.levels.count(1) == 1
    assert page.captions.keys() == page.tables.keys()
    assert all(len(caption) > 7 for caption in page.captions.values())
    assert {"summary", "datasets", "classes", "answers", "taken-for", "mistakes", "settings"} <= (
        page.tables.keys()
    )


def truth(folders: list[Path]) -> dict[tuple[str, str], tuple[int, int]]:
    """Count (right, samples) of the better method by class, straight from the files."""
    counts: dict[tuple[str, str], list[int]] = {}
    for folder in folders[:2]:
        run = read_run(folder)
        names = [(task.name, name) for task in run.tasks for name in task.class_names]
        for said in run.answers().values():
            for answer, label in zip(said.answer, said.label, strict=True):
                of = counts.setdefault(names[label], [0, 0])
                of[0] += answer == label
                of[1] += 1
    return {key: (hits, samples) for key, (hits, samples) in counts.items()}


def test_the_accuracy_of_a_class_is_that_of_its_samples_in_all_runs(page, folders):
    expected = truth(folders)
    rows = {(row[1], row[0]): row for row in page.tables["classes"][1:]}
    assert rows.keys() == {(task, name) for task, names in CLASS_NAMES.items() for name in names}
    for key, (hits, samples) in expected.items():
        assert rows[key][3] == f"{100 * hits / samples:.1f}"


def test_the_matrix_of_datasets_has_names_and_the_shares_of_answers(page, folders):
    head, *rows = page.tables["answers"]
    assert sorted(head[1:]) == ["a", "b", "c"]
    assert [row[0] for row in rows] == head[1:]
    counts = np.zeros((3, 3))
    for folder in folders[:2]:
        run = read_run(folder)
        place = [head.index(task.dataset) - 1 for task in run.tasks]
        for said in run.answers().values():
            for answer, label in zip(said.answer // 2, said.label // 2, strict=True):
                counts[place[label], place[answer]] += 1
    shares = counts / counts.sum(axis=1, keepdims=True)
    assert [row[1:] for row in rows] == [[cell(v).text for v in row] for row in shares.tolist()]


def test_classes_have_one_number_whatever_the_order_of_the_tasks(folders):
    runs = load_runs(folders)
    classes = Classes(runs)
    for run in runs:
        named = [(name, task.name) for task in run.tasks for name in task.class_names]
        numbers = classes.numbers(run)
        assert [(classes.all[k].name, classes.all[k].task) for k in numbers] == named


def test_the_most_frequent_mistakes_come_first_and_count_all_runs(folders):
    groups = group(load_runs(folders))
    section = answers_of(groups, entries(groups), None)
    poor = [line for line in section.pairs if line[0] == "POOR"]
    samples = [int(line[5]) for line in poor]
    assert samples == sorted(samples, reverse=True)
    confusion = Classes(load_runs(folders)).confusion(groups[1])
    every = confusion.mistakes(100)
    assert [pair.samples for pair in every[: len(samples)]] == samples
    assert (
        sum(pair.samples for pair in every)
        == confusion.count[confusion.label != confusion.answer].sum()
    )
    assert confusion.count.sum() == 2 * 3 * 60


def test_a_single_dataset_is_set_out_by_tasks_and_a_single_task_by_classes(folders):
    runs = load_runs(folders[:1])
    one = [t.model_copy(update={"dataset": "x"}) for t in runs[0].tasks]
    kind, names, unit = Classes([runs[0].model_copy(update={"tasks": one})]).units()
    assert (kind, len(names)) == ("task", 3)
    kind, names, unit = Classes([runs[0].model_copy(update={"tasks": one[:1]})]).units()
    assert (kind, names, unit.tolist()) == ("class", one[0].class_names, [0, 1])


def test_runs_without_answers_have_a_page_without_that_section(tmp_path):
    folder = stored(tmp_path / "old", "old", right(0, 0.5))
    text = build_report([folder], tmp_path / "report.html").read_text(encoding="utf-8")
    assert "What is taken for what" not in text
    assert 'data-name="datasets"' in text


def test_damaged_answers_are_refused(folders, tmp_path):
    (tmp_path / "run").mkdir()
    for name in ("results.json", "timing.json"):
        (tmp_path / "run" / name).write_bytes((folders[0] / name).read_bytes())
    content = bytearray((folders[0] / "samples.safetensors").read_bytes())
    (tmp_path / "run" / "samples.safetensors").write_bytes(content[:-8])
    with pytest.raises(UsageError, match="nothing of it was used"):
        build_report([tmp_path / "run"], tmp_path / "report.html")


@pytest.mark.parametrize(
    ("share", "text", "level"),
    [(0, "", 0), (0.0001, "<1", 1), (0.0099, "<1", 1), (0.25, "25", 5), (1, "100", 9)],
)
def test_a_cell_shows_its_share_and_rare_mistakes_have_a_shade(share, text, level):
    assert cell(share) == (text, level)


def test_settings_stand_side_by_side_and_those_that_differ_are_marked():
    from bmc.report.finished import Run

    rows = [configured(), configured(experts=1), configured(experts=8, order_seed=1)]
    groups = group([Run.model_validate(row) for row in rows])
    settings = {line.key: line for line in side_by_side(groups)}
    assert settings["experts"].differs
    assert sorted(settings["experts"].values) == [("1", True), ("8", False)] or sorted(
        settings["experts"].values
    ) == [("1", False), ("8", True)]
    assert not settings["epochs"].differs
    assert {other for _, other in settings["epochs"].values} == {False}


def test_the_page_names_the_date_and_the_commands_that_repeat_it(tmp_path):
    folders = [
        write(tmp_path / "my runs" / f"er-{seed}", make_results("er", tasks=3, order_seed=seed))
        for seed in (0, 1)
    ]
    (folders[0] / "run.yaml").write_text("method: er\n")
    (tmp_path / "my runs" / "compare.yaml").write_text("method: er\n")
    timing = json.loads((folders[0] / "timing.json").read_text())
    timing["finished"] = "2024-02-03T10:00:00+00:00"
    (folders[0] / "timing.json").write_text(json.dumps(timing))
    runs = load_runs(folders)
    assert finished(runs).startswith("2024-02-03 to 20")
    assert commands(runs) == [
        "bmc-stream run --config 'my runs/er-0/run.yaml'",
        "bmc-stream compare --config 'my runs/compare.yaml'",
        "bmc-stream report 'my runs'",
    ]
    assert commands(runs[:1])[-1] == "bmc-stream report 'my runs/er-0'"
    text = build_report(folders, tmp_path / "report.html").read_text(encoding="utf-8")
    assert "bmc-stream compare --config" in text
    assert str(tmp_path) not in text


@pytest.mark.parametrize(
    ("low", "high", "cut", "ends"),
    [
        (60, 70, True, ("closed", "closed")), (40, 70, True, ("open", "closed")),
        (60, 100, True, ("closed", "open")), (60, 100, False, ("closed", "closed")),
        (10, 20, True, ("open", "")), (65, 65, True, ("", "")),
    ],
)  # fmt: skip
def test_the_ends_of_an_interval_are_open_where_it_was_cut(low, high, cut, ends):
    assert _ends(low, high, 50.0, cut=cut) == ends


@pytest.mark.parametrize(("low", "high"), [(0, 100), (57.3, 75.9), (99.2, 100), (0.0, 0.4)])
def test_the_axis_of_intervals_stays_between_0_and_100(low, high):
    start, end = _whole_ticks(low, high)
    assert 0 <= start <= low
    assert high <= end <= 100


def test_a_page_of_many_methods_stays_small(tmp_path):
    """A tenth of the largest comparison: what it adds for each run and task is bounded."""
    small = build_report(many(tmp_path / "few", 2, 1, tasks=2), tmp_path / "few.html")
    large = build_report(many(tmp_path / "many", 29, 2, tasks=18), tmp_path / "many.html")
    added = large.stat().st_size - small.stat().st_size
    assert added < 5_000_000 - small.stat().st_size
    assert added / (31 * 2 * 18) < 600
