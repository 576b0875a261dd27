"""The public face of bmc: methods are run and compared from Python, without a command line."""

import pytest

import autods
import bmc
from autods.errors import UnknownName, UsageError

TINY = {"max_tasks": 2, "scale": 1e-4}


@pytest.fixture
def stream() -> autods.Stream:
    return autods.synthetic_stream(tasks=2, scale=1e-4)


def test_a_run_returns_its_results_and_is_kept_for_the_next_time(stream, tmp_path, capsys):
    result = bmc.run(stream, "er", out=tmp_path, quiet=True, epochs=1, memory=40)
    assert (result.method, result.scenario, result.config["memory"]) == ("er", "class-il", 40)
    assert len(result.R["class-il"]) == 2 and 0 < result.metrics["class-il"]["final_mean"] < 1
    (folder,) = tmp_path.iterdir()
    before = (folder / "results.json").stat().st_mtime_ns
    again = bmc.run(stream, "er", bmc.Config(epochs=1), tmp_path, quiet=True, memory=40)
    assert again.metrics == result.metrics
    assert [p.name for p in tmp_path.iterdir()] == [folder.name]
    assert (folder / "results.json").stat().st_mtime_ns == before
    assert capsys.readouterr().err == ""
    assert repr(result) == str(result) and len(repr(result)) < 100


def test_a_run_of_one_task_says_that_it_is_no_continual_learning(tmp_path, capsys):
    bmc.run(autods.synthetic_stream(tasks=1, scale=1e-4), "ncm", out=tmp_path)
    assert "This stream has one task, 'aircraft': nothing is learned" in capsys.readouterr().err


def test_a_result_shows_its_table_and_writes_its_report(stream, tmp_path):
    result = bmc.run(stream, "slda", out=tmp_path, quiet=True)
    accuracy = f"{100 * result.metrics['class-il']['final_mean']:.1f}"
    assert accuracy in result.table().html() and accuracy in result._repr_html_()
    assert list(result.table().frame["method"]) == ["slda"]
    page = result.report(tmp_path / "page.html")
    assert accuracy in page.read_text(encoding="utf-8")
    assert isinstance(result, bmc.Run)


def test_options_and_methods_are_looked_up_by_name(stream, tmp_path):
    with pytest.raises(UnknownName, match="unknown method 'bmcc'; did you mean bmc"):
        bmc.run(stream, "bmcc", out=tmp_path)
    with pytest.raises(UsageError, match="memry"):
        bmc.run(stream, "er", out=tmp_path, memry=3)
    assert {"bmc", "er", "finetune"} <= set(bmc.METHODS.names())
    assert not list(tmp_path.iterdir())


def test_a_comparison_returns_a_frame_and_writes_tables_and_a_report(tmp_path):
    table = bmc.compare(
        "synthetic", ["ncm"], orders=2, config=bmc.Config(epochs=1), out=tmp_path / "cmp",
        quiet=True, **TINY,
    )  # fmt: skip
    assert sorted(table.frame["method"]) == ["finetune", "ncm"]
    assert {path.suffix for path in (tmp_path / "cmp").glob("compare.*")} >= {".csv", ".json"}
    page = bmc.report(tmp_path / "cmp", tmp_path / "again.html")
    assert page.read_text().startswith("<!doctype html>")
    with pytest.raises(UsageError, match="expected a folder with finished runs"):
        bmc.report(tmp_path / "nothing")


def test_a_name_and_an_opened_stream_are_not_taken_for_each_other():
    with pytest.raises(
        UsageError, match=r"expected a stream that autods.open_stream opened, got str"
    ):
        bmc.run("synthetic", "ncm")
    with pytest.raises(UsageError, match=r"expected the name or the file of a stream.*got Stream"):
        bmc.compare(autods.synthetic_stream(tasks=2, scale=1e-4), "ncm")
    with pytest.raises(UsageError, match="expected the name of a method, got the class"):
        bmc.compare("synthetic", ["slda", bmc.METHODS.get("ncm")])
