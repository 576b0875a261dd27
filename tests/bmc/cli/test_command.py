"""Help, `--config FILE` and the file that every run and study writes."""

import json
from types import SimpleNamespace

import pytest
import yaml
from typer.testing import CliRunner

from autods.cli.app import app as autods_app
from bmc.cli.app import app
from bmc.cli.next_steps import after_run
from bmc.config import Config
from bmc.methods import METHODS
from bmc.runs.choice import StreamChoice

STREAM = ["--scenario", "class-il", "--max-tasks", "2", "--scale", "0.0001"]
TRAINING = ("run", "compare", "sweep", "tune", "reproduce")


def called(*arguments: object):
    return CliRunner().invoke(app, list(map(str, arguments)), env={"COLUMNS": "80"})


def printed(*arguments: object) -> str:
    made = called(*arguments)
    assert made.exit_code == 0, made.exception
    return made.stdout


def refused(*arguments: object) -> str:
    made = called(*arguments)
    assert getattr(made.exception, "exit_code", made.exit_code) == 2
    return " ".join(f"{made.exception} {made.output}".split())


def in_file(path, **values: object):
    path.write_text(yaml.safe_dump({"scenario": "class-il", "max_tasks": 2, **values}))
    return path


def hashes(folder) -> set[str]:
    return {path.parent.name for path in folder.rglob("results.json")}


@pytest.mark.parametrize("command", TRAINING)
def test_help_fits_a_screen_of_80_columns_and_shows_two_examples(command):
    lines = printed(command, "-h").splitlines()
    assert len(lines) <= 60
    assert max(map(len, lines)) <= 80
    assert sum(line.strip().startswith(f"bmc-stream {command} ") for line in lines) == 2


@pytest.mark.parametrize("command", TRAINING[:-1])
def test_help_all_shows_every_shared_option(command):
    short, whole = printed(command, "--help"), printed(command, "--help-all")
    shown = [f"--{name.replace('_', '-')} " for name in Config.names()]
    assert all(name in whole.replace(",", " ") for name in shown)
    assert not all(name in short for name in shown)
    assert printed(command, "--help") == short


def test_a_method_is_shown_with_its_equation_source_and_options():
    text = printed("methods", "hal")
    assert "L_T(batch" in text
    assert "arXiv 2002.08165" in text
    assert "steps (a whole number at least 1; default 100)" in text
    assert "replay-batch" in text
    assert "epochs" not in printed("methods", "ncm")


@pytest.mark.parametrize("name", METHODS.names())
def test_every_method_is_shown_as_json_with_ranges_and_sentences(name):
    made = json.loads(printed("methods", name, "--json"))
    assert made["equation"] and made["source"]
    assert [one["name"] for one in made["options"]] == METHODS.get(name).Options.names()
    assert all(one["help"].endswith(".") and one["expected"] for one in made["options"])


def test_the_methods_are_listed_as_json():
    assert [row["name"] for row in json.loads(printed("methods", "--json"))] == METHODS.names()


def test_the_command_line_beats_the_file_and_a_section_is_for_its_method(tmp_path):
    path = in_file(tmp_path / "a.yaml", scale=1e-4, epochs=1, method=["er", "der"], memory=30,
                   der={"alpha": 2, "memory": 40}, gem={"margin": 1.0})  # fmt: skip
    asked = ["run", "--config", path, "--memory", 20, "-o", "der.alpha=3", "--json"]
    er, der = json.loads(printed(*asked, "--out", tmp_path / "o"))
    assert (er["method"], er["config"]["memory"], der["config"]["memory"]) == ("er", 20, 40)
    assert der["config"]["options"] == METHODS.get("der").Options(alpha=3.0).as_dict()
    assert er["config"]["epochs"] == der["config"]["epochs"] == 1


def test_a_run_is_repeated_by_the_file_in_its_folder(tmp_path):
    asked = [*STREAM, "--epochs", 1, "--method", "er", "--method", "knn", "--order", "0,1"]
    printed("run", *asked, "-o", "knn.neighbours=3", "-o", "er.memory=30", "--out", tmp_path / "o")
    for path in (tmp_path / "o").rglob("run.yaml"):
        printed("run", "--config", path, "--out", tmp_path / "again")
    assert hashes(tmp_path / "again") == hashes(tmp_path / "o")
    assert len(hashes(tmp_path / "o")) == 4


def test_a_flag_a_file_and_an_option_of_the_method_cut_large_tasks_alike(tmp_path):
    asked = [*STREAM, "--epochs", 1, "--method", "bmc,er", "--json"]
    printed("run", *asked, "--expert-rows", 40, "--out", tmp_path / "a")
    (made,) = (tmp_path / "a").glob("bmc-*/results.json")
    assert len(json.loads(made.read_text())["records"]["expert_steps"]) > 2
    (tmp_path / "a.yaml").write_text("expert_rows: 40\nbmc: {expert_rows: 50}")
    printed("run", *asked, "--config", tmp_path / "a.yaml", "--out", tmp_path / "b")
    printed("run", *asked, "--expert-rows", 50, "-o", "bmc.expert_rows=40", "--out", tmp_path / "c")
    for path in (tmp_path / "a").rglob("run.yaml"):
        printed("run", "--config", path, "--out", tmp_path / "d")
    assert len({frozenset(hashes(tmp_path / one)) for one in "abcd"}) == 1


def test_a_flag_that_no_chosen_method_has_is_refused(tmp_path):
    said = refused("run", *STREAM, "--method", "er,ncm", "--expert-rows", 40, "--out", tmp_path)
    assert "--expert-rows: expected a method with experts that train, like bmc, got" in said
    assert not list(tmp_path.iterdir())


def test_a_study_is_repeated_by_the_file_in_its_folder(tmp_path):
    asked = [*STREAM, "--epochs", 1, "--method", "er", "--grid", "memory=20,30"]
    printed("sweep", *asked, "-o", "er.replay_batch=8", "--out", tmp_path / "o")
    printed("sweep", "--config", tmp_path / "o" / "sweep.yaml", "--out", tmp_path / "again")
    assert hashes(tmp_path / "again") == hashes(tmp_path / "o")
    assert len(hashes(tmp_path / "o")) == 2


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"epoch": 3}, "unknown key 'epoch'; did you mean epochs"),
        ({"err": {"memory": 3}}, "unknown key 'err'; did you mean er"),
        ({"er": {"memroy": 3}}, "unknown option of er 'memroy'; did you mean memory"),
        ({"er": 3}, "er: expected its options, a line each, got 3"),
        ({"method": "er", "er": {"memory": "many"}}, "memory: expected a whole number"),
        ({"epochs": "many"}, "parse string as an integer"),
    ],
)
def test_a_wrong_file_is_refused_with_the_nearest_name(values, said, tmp_path):
    path = in_file(tmp_path / "a.yaml", **values)
    assert said in refused("run", "--config", path, "--out", tmp_path / "o")
    assert not (tmp_path / "o").exists()


@pytest.mark.parametrize(("content", "said"), [("[1", "cannot be read"), ("3", "got int")])
def test_what_is_no_file_of_options_is_refused(content, said, tmp_path):
    (tmp_path / "a.yaml").write_text(content)
    assert said in refused("run", "--config", tmp_path / "a.yaml")
    assert "got none" in refused("run", "--config", tmp_path / "missing.yaml")


def test_reproduce_refuses_a_section_of_a_method(tmp_path):
    path = in_file(tmp_path / "a.yaml", er={"memory": 500})
    (tmp_path / "b.yaml").write_text("er: {memory: 500}")
    said = refused("reproduce", "stream-clip", "--config", tmp_path / "b.yaml")
    assert "er: reproduce takes its options from --preset" in said
    assert "unknown key 'scenario'" in refused("reproduce", "stream-clip", "--config", path)


@pytest.mark.parametrize("program", [app, autods_app])
def test_every_command_shows_its_help_for_h(program):
    assert CliRunner().invoke(program, ["-h"]).exit_code == 0
    assert (
        CliRunner().invoke(program, ["report" if program is app else "fetch", "-h"]).exit_code == 0
    )


def test_the_help_of_a_run_shows_how_a_dataset_is_cut_into_tasks():
    assert "--classes-per-task N" in printed("run", "-h")


def test_all_methods_are_not_named_beside_single_ones_and_blanks_do_not_count():
    told = refused("run", *STREAM, "--method", "all, bmc")
    assert "--method: expected names such as bmc,er or 'all'; got 'all,bmc'" in told
    assert "unknown method 'bmcc'" in refused("run", *STREAM, "--method", "er, bmcc")


def test_a_difficulty_that_does_not_exist_is_refused():
    assert "unknown difficulty 'harder'; did you mean hard?" in refused(
        "run", *STREAM, "--difficulty", "harder"
    )


def test_a_run_of_one_task_says_so_first_and_names_no_comparison(tmp_path):
    asked = ["run", "--scenario", "class-il", "--max-tasks", 1, "--scale", 1e-4, "--method", "ncm"]
    made = called(*asked, "--out", tmp_path / "one")
    assert made.exit_code == 0
    assert made.stderr.startswith("This stream has one task")
    assert "compare" not in made.stderr


@pytest.mark.parametrize(
    ("tasks", "classes", "given", "said"),
    [
        (2, 8, {}, "bmc-stream compare --scenario class-il --method ncm,er,slda --stream dogs"),
        (1, 12, {}, "bmc-stream run --scenario class-il --method ncm --stream dogs "
         "--classes-per-task 3"),
        (1, 12, {"classes_per_task": 99}, "bmc-stream run --scenario class-il --method ncm "
         "--stream dogs --classes-per-task 3"),
        (1, 2, {}, None),
        (1, 12, {"max_tasks": 1}, None),
    ],
)  # fmt: skip
def test_after_a_run_of_one_task_comes_one_of_several(tasks, classes, given, said):
    stream = SimpleNamespace(tasks=[None] * tasks, n_classes=classes)
    steps = after_run(StreamChoice("class-il", "dogs", **given), ["ncm"], stream)
    assert steps == ([] if said is None else [said])


@pytest.mark.parametrize("line", ["method: no", "epochs: true", "order: off", "seed: yes"])
def test_a_truth_value_is_no_name_and_no_number(tmp_path, line):
    path = tmp_path / "config.yaml"
    path.write_text(f"scenario: class-il\n{line}\n")
    key = line.partition(":")[0]
    assert f"{key}: expected a value, got" in refused("run", "--config", path)


@pytest.mark.parametrize("line", ["epochs: 010", "epochs: 1:30"])
def test_a_number_in_base_8_or_60_is_refused(tmp_path, line):
    path = tmp_path / "config.yaml"
    path.write_text(f"scenario: class-il\n{line}\n")
    assert "in base 8 or 60 to YAML" in refused("run", "--config", path)
