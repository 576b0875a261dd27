"""Files beside the results that changed after they were written are told when they are read."""

import random
from pathlib import Path

import pytest
from small import small_config, small_stream

from autods.core.seals import comment_holds, with_comment
from autods.errors import UsageError
from bmc.cli import command
from bmc.report import load_runs
from bmc.runs import run


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> Path:
    return run.run(
        small_stream(3), "ncm", small_config("ncm"), tmp_path_factory.mktemp("run") / "a"
    )


@pytest.mark.parametrize("matrix", ["R_class_il.csv", "R_task_il.csv", "R_dataset_id.csv"])
@pytest.mark.parametrize("seed", range(4))
def test_a_flipped_bit_in_an_accuracy_matrix_is_refused_until_it_is_deleted(finished, matrix, seed):
    path, draw = finished / matrix, random.Random(seed)
    whole = path.read_bytes()
    changed = bytearray(whole)
    changed[draw.randrange(len(changed))] ^= 1 << draw.randrange(8)
    path.write_bytes(changed)
    with pytest.raises(UsageError, match=rf"{matrix}.*results.json beside it has its numbers"):
        load_runs([finished])
    path.unlink()
    (loaded,) = load_runs([finished])
    path.write_bytes(whole)
    assert load_runs([finished])[0].metrics == loaded.metrics


class Named:
    def __init__(self, name: str) -> None:
        self.name = name


@pytest.mark.parametrize("change", [("0.001", "0.003"), ("epochs: 4", "epochs: 5"), ("er", "gr")])
def test_a_file_of_options_that_changed_since_it_was_written_is_told(tmp_path, capsys, change):
    known = {name: Named(name) for name in ("method", "epochs", "learning_rate")}
    path, text = tmp_path / "run.yaml", "method: er\nepochs: 4\nlearning_rate: 0.001\n"
    path.write_text(f"# bmc-stream run --config run.yaml\n{with_comment(text)}")
    assert command.read_config(path, known)[0]["epochs"] == 4
    assert capsys.readouterr().err == ""
    path.write_text(path.read_text().replace(*change))
    command.read_config(path, known)
    assert "is not as bmc-stream wrote it" in capsys.readouterr().err


@pytest.mark.parametrize("text", ["", "a: 1\n", "# by hand\na: 1\n"])
def test_yaml_without_a_hash_is_taken_as_it_is(text):
    assert comment_holds(text)
    assert comment_holds(with_comment(text))
