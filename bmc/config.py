"""The typed configuration of a run: what all methods share, and how options are declared.

A method's own options are a dataclass of the same kind, beside its class.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, fields
from operator import ge, gt, le, lt
from typing import Any, TypeVar, get_type_hints

from autods.errors import UsageError

KINDS: dict[type, str] = {
    bool: "true or false",
    int: "a whole number",
    float: "a finite number",
    str: "a text",
}
Overrides = dict[str, dict[str, Any]]  # values that single methods get, by method and field
ALIASES = {"lr": "learning_rate"}  # short names of shared fields

T = TypeVar("T")


def option(
    default: T,
    text: str,
    *,
    above: float | None = None,
    at_least: float | None = None,
    at_most: float | None = None,
    below: float | None = None,
    one_of: Sequence[str] | None = None,
    hidden: bool = False,
) -> T:
    """Declare a field of an `OptionSet`: its default, the sentence that describes it, its range.

    ``hidden``: rarely used, so that ``--help`` leaves it to ``--help-all``.
    """
    limits = {"above": above, "at least": at_least, "at most": at_most, "below": below}
    stated = {word: limit for word, limit in limits.items() if limit is not None}
    metadata = {"help": text, "limits": stated, "one_of": one_of, "hidden": hidden}
    made: T = field(default=default, metadata=metadata)  # a dataclass replaces it by the value
    return made


@dataclass(frozen=True)
class OptionSet:
    """Base of dataclasses whose fields are declared by `option` and checked when they are made."""

    def __post_init__(self) -> None:
        kinds = get_type_hints(type(self))
        for f in fields(self):
            if "help" in f.metadata:
                value = checked(f.name, getattr(self, f.name), kinds[f.name], f.metadata)
                object.__setattr__(self, f.name, value)

    @classmethod
    def names(cls) -> list[str]:
        """Return the names of the options."""
        return [f.name for f in fields(cls) if "help" in f.metadata]

    def as_dict(self) -> dict[str, Any]:
        """Return the plain values by name."""
        return asdict(self)


def checked(name: str, value: Any, kind: type, declared: Any) -> Any:
    """Return a value as its option's type; refuse another type or what is out of range."""
    if kind is float and type(value) is int:
        value = float(value)
    finite = not isinstance(value, float) or math.isfinite(value)
    if type(value) is not kind or not finite or not _within(value, declared):
        raise UsageError(
            f"{name}: expected {expected(kind, declared)}, got {value}; nothing was run."
        )
    return value


def _within(value: Any, declared: Any) -> bool:
    if declared["one_of"] is not None:
        return value in declared["one_of"]
    holds = {"above": gt, "at least": ge, "at most": le, "below": lt}
    return all(holds[word](value, limit) for word, limit in declared["limits"].items())


def expected(kind: type, declared: Any) -> str:
    """Say which values an option takes, as a phrase: ``a finite number above 0``."""
    if declared["one_of"] is not None:
        return " or ".join(declared["one_of"])
    limits = " and ".join(f"{word} {limit:g}" for word, limit in declared["limits"].items())
    return f"{KINDS[kind]} {limits}".strip()


@dataclass(frozen=True)
class Config(OptionSet):
    """Hyper-parameters that methods share, and the options of the one that is run.

    Attributes
    ----------
    options
        An instance of the method's ``Options``; ``None``: its defaults.
    """

    epochs: int = option(10, "Passes over each task's training data.", at_least=1)
    # batch normalisation over one row would only return its bias
    batch_size: int = option(64, "New samples per update.", at_least=2)
    learning_rate: float = option(0.001, "AdamW learning rate.", above=0)
    weight_decay: float = option(0.01, "AdamW weight decay.", at_least=0, hidden=True)
    plateau: int = option(
        0,
        "Passes without a better loss on development samples that the learning rate stands, then "
        "falls to a tenth; 0: it never falls.",
        at_least=0,
        hidden=True,
    )
    plateau_threshold: float = option(
        1e-4, "Share by which such a loss must fall to be better.", at_least=0, below=1, hidden=True
    )
    early_stopping: int = option(
        0,
        "Passes without a better loss on development samples that a training lasts on; 0: all.",
        at_least=0,
        hidden=True,
    )
    drop_last: bool = option(
        False,
        "Leave out what remains of each pass after its full batches, instead of joining passes.",
        hidden=True,
    )
    moments: str = option(
        "new",
        "AdamW's moments at a new task: new, or kept from the task before.",
        one_of=("new", "kept"),
        hidden=True,
    )
    hidden: int = option(128, "Width of the input projection.", at_least=1, hidden=True)
    inner: int = option(128, "Inner width of both residual blocks.", at_least=1, hidden=True)
    width: int = option(256, "Width of both residual blocks.", at_least=1, hidden=True)
    dropout: float = option(
        0.3, "Dropout after each residual block.", at_least=0, below=1, hidden=True
    )
    feature_norm: float = option(
        10.0, "Length that L2-normalised feature rows are scaled to.", above=0, hidden=True
    )
    memory: int = option(2000, "Samples that the memory may hold.", at_least=1)
    memory_mb: float = option(
        0.0,
        "Memory in megabytes (10^6 bytes) in place of samples, so that methods whose samples "
        "differ in size have equal bytes; 0: counted in samples.",
        at_least=0,
        hidden=True,
    )
    replay_batch: int = option(
        64, "Memory samples per update of replay methods.", at_least=1, hidden=True
    )
    outputs: str = option(
        "seen",
        "Classes that compete in training and prediction: seen, or all of the stream.",
        one_of=("seen", "all"),
        hidden=True,
    )
    precision: str = option(
        "auto",
        "Of matrix products: float32, tf32 (CUDA), or bf16; auto: tf32 on CUDA for methods that "
        "train a network, else float32.",
        one_of=("auto", "float32", "tf32", "bf16"),
        hidden=True,
    )
    capture: bool = option(
        True, "CUDA: record an update once and replay it (a CUDA graph).", hidden=True
    )
    evaluate_on: str = option(
        "test",
        "Split that is measured: test, or dev for tuning.",
        one_of=("test", "dev"),
        hidden=True,
    )
    evaluate_every: int = option(
        0,
        "Tasks from one evaluation to the next; 0: the largest group that a method learns at once.",
        at_least=0,
        hidden=True,
    )
    measure_ahead: bool = option(
        False,
        "Also measure tasks before they are learned, for forward transfer; costs some time.",
        hidden=True,
    )
    seed: int = option(0, "Seed of weights, batches, dropout, memory.", at_least=0)
    options: Any = None

    def as_dict(self) -> dict[str, Any]:
        """Return the shared values by name, and under ``options`` those of the method."""
        return asdict(self) | {"options": {} if self.options is None else asdict(self.options)}

    def flat(self) -> dict[str, Any]:
        """Return the shared values and those of the method by name; no two have the same."""
        values = self.as_dict()
        own: dict[str, Any] = values.pop("options")
        return values | own

    def network(self) -> dict[str, Any]:
        """Return the keyword arguments of the network."""
        names = ("hidden", "inner", "width", "dropout", "precision")
        return {name: getattr(self, name) for name in names}
