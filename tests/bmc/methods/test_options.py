"""Options beside their method: what is declared is what is read; values are checked once."""

from dataclasses import fields, replace

import pytest
from small import learned, small_config, small_stream, tensors

from autods.errors import UnknownName, UsageError
from autods.streams.synthetic import synthetic_stream
from bmc.config import Config
from bmc.methods import METHODS, config_for, overrides_of

STREAM = small_stream(3)
# an expert trains a head of its own where its task has many samples of a class
LARGE = {"bmc-analytic": synthetic_stream(tasks=2, classes=142, per_class=24, dim=16)}
OF_RUNS = {  # read by every run, whatever the method
    "evaluate_every", "evaluate_on", "measure_ahead", "precision",
}  # fmt: skip


def recorded(options: object) -> tuple[object, set[str]]:
    """The same values, and a set that takes the names of those that are read."""
    read: set[str] = set()

    def get(self: object, name: str) -> object:
        read.add(name)
        return object.__getattribute__(self, name)

    kind = type(options)
    twin = type(kind.__name__, (kind,), {"__getattribute__": get})
    made = twin(**{f.name: getattr(options, f.name) for f in fields(kind)})
    read.clear()
    return made, read


@pytest.mark.parametrize("name", METHODS.names())
def test_a_method_reads_the_fields_and_options_that_it_declares_and_no_others(name):
    config, stream = small_config(name, epochs=1, trained_from=10), LARGE.get(name, STREAM)
    options, of_method = recorded(config.options)
    watched, of_all = recorded(replace(config, options=options))
    method = learned(name, stream, watched)
    method.scores(tensors(stream)[0].test.features)
    method.records()
    shared = {field for field in Config.names() if METHODS.get(name).reads(field)}
    shared.discard("memory_mb")  # counted in samples before a method sees it
    assert (of_all & set(Config.names())) | OF_RUNS == shared
    assert of_method & set(config.options.names()) == set(config.options.names())


@pytest.mark.parametrize("name", METHODS.names())
def test_no_option_of_a_method_has_the_name_of_a_shared_one(name):
    assert not set(METHODS.get(name).Options.names()) & set(Config.names())


def test_a_configuration_is_that_of_its_method_with_what_it_is_given():
    overrides = overrides_of(["er.lr=0.5", "gem.margin=1", "gem.replay-batch=7"])
    er, gem = (config_for(name, Config(), overrides) for name in ("er", "gem"))
    assert (er.learning_rate, gem.learning_rate) == (0.5, 0.001)
    assert gem.options == METHODS.get("gem").Options(margin=1.0)
    assert gem.as_dict()["options"] == {"margin": 1.0, "constraints": 10}
    assert (gem.replay_batch, gem.flat()["margin"]) == (7, 1.0)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("gem.margin=-1", "gem: margin: expected a finite number at least 0, got -1"),
        ("gem.constraints=1.5", "gem: constraints: expected a whole number at least 1, got 1.5"),
        ("gem.margin=true", "gem: margin: expected a finite number at least 0, got true"),
        ("er.dropout=1", "er: dropout: expected a finite number at least 0 and below 1, got 1"),
        ("er.outputs=some", "er: outputs: expected seen or all, got some"),
        ("finetune.restart=2", "finetune: restart: expected true or false, got 2"),
        ("bmc.lam=inf", "bmc: lam: expected a finite number at least 0, got inf"),
    ],
)
def test_a_value_of_another_type_or_range_is_refused_with_method_and_option(text, said):
    name = text.partition(".")[0]
    with pytest.raises(UsageError, match=said):
        config_for(name, Config(), overrides_of([text]))


def test_an_option_that_a_method_has_not_or_does_not_read_is_answered_with_the_nearest():
    with pytest.raises(UnknownName, match="did you mean margin"):
        overrides_of(["gem.margn=1"])
    with pytest.raises(UnknownName, match="unknown option of ncm 'epochs'"):
        overrides_of(["ncm.epochs=3"])


def test_options_of_another_method_are_refused():
    with pytest.raises(UsageError, match=r"expected those of GEM, got .*FunctionDistance.Options"):
        METHODS.get("gem").configured(small_config("fdr"))
