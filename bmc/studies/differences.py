"""What differs from the published run, with the reason, beside every result of `reproduce`.

"The public code" is github.com/fostiropoulos/stream_benchmark, whose README says that it made the
published results. A difference that a preset decides is listed for a preset that sets otherwise.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from bmc.studies.presets import Preset


@dataclass(frozen=True)
class Difference:
    """One thing that is not as in the public code.

    Attributes
    ----------
    methods
        Those that it concerns; none: all.
    unless
        Options with the values of the public code; a difference that has some is one for the
        methods that read these and are set otherwise.
    """

    text: str
    methods: tuple[str, ...] = ()
    unless: Mapping[str, Any] = field(default_factory=dict)

    def concerned(self, preset: Preset, asked: Iterable[str]) -> list[str]:
        """Return those of the methods that differ in this under a preset."""
        of = [name for name in asked if not self.methods or name in self.methods]
        return [name for name in of if not self.unless or self._set_otherwise(preset, name)]

    def _set_otherwise(self, preset: Preset, method: str) -> bool:
        values = preset.config(method).flat()
        return any(values[key] != value for key, value in self.unless.items() if key in values)


REPLAYS = ("agem-r", "der", "derpp", "er", "er-ace")
DIFFERENCES = (
    Difference(
        "A tenth of the published training samples is held out for development and not trained "
        "on. Its loss (on at most 1,024 of them) lowers the learning rate, where the public code "
        "uses the test samples: results on these would be chosen by them."
    ),
    Difference(
        "Features are float16 and of length 10 in every row, so that one learning rate suits all "
        "encoders. The public code reads float32 features of any length."
    ),
    Difference(
        "Accuracy per cost is in per cent per MB sent, broadcast and kept. The poster gives 6.27 "
        "without a unit, so the two cannot be compared."
    ),
    Difference(
        "Relative time is learning time on one device, where experts train together. The poster's "
        "78 % is of experts on devices of their own, whose number it does not give."
    ),
    Difference(
        "What is left of a pass after its full batches is trained on together with the next pass; "
        "the public code leaves it out.",
        unless={"drop_last": True},
    ),
    Difference(
        "Experts are held near the base model, and their features are distilled, as the poster "
        "says. In the public code both losses are commented out.",
        ("bmc",),
        {"lam": 0.0, "beta": 0.0},
    ),
    Difference(
        "Consolidation draws from all of memory and buffers as they are, at one learning rate. "
        "The public code mixes samples (weight from 0.6 to 1) and holds out 20 % of them, whose "
        "loss lowers the rate: neither is in the poster's equations.",
        ("bmc",),
        {"mixup": 0.6, "held_out": 0.2},
    ),
    Difference(
        "In consolidation all classes of the stream compete; in the public code those from the "
        "lowest to the highest task of a batch.",
        ("bmc",),
        {"task_slice": True},
    ),
    Difference(
        "Buffer and memory are balanced over classes and tasks. In the public code a buffer is "
        "the first samples of a shuffled pass, and the memory a random share of each task.",
        ("bmc",),
        {"buffer_choice": "first", "memory_choice": "share"},
    ),
    Difference(
        "Consolidation meets tasks equally often in shuffled rounds; the public code draws tasks "
        "with equal probability, with replacement. Rounds have the same mean and less noise.",
        ("bmc",),
    ),
    Difference(
        "An expert's learning rate falls by the loss over its own classes, the only ones that it "
        "computes; in the public code by that over all classes of the stream.",
        ("bmc",),
    ),
    Difference(
        "Fine-tuning goes on from the task before; in the public code every task begins with new "
        "weights.",
        ("finetune",),
        {"restart": True},
    ),
    Difference(
        "A sample is offered to the reservoir once. The public code offers it in every pass, which "
        "fills the reservoir with copies of it.",
        REPLAYS,
    ),
    Difference(
        "Samples of former tasks are replayed; in the public code those of the current one, too.",
        ("er", "hal"),
    ),
    Difference(
        "The memory is shared evenly by the tasks so far; in the public code each task has the "
        "share that it will have after the last one.",
        ("agem", "gem"),
    ),
    Difference(
        "At most 10 former tasks constrain an update, by a batch of each, drawn anew for each "
        "update. In the public code all do by all their samples, which takes ever longer.",
        ("gem",),
    ),
    Difference(
        "The student regresses on the features of the task and of a memory. The public code takes "
        "those of CIFAR-100, which is no dataset of the stream. It consolidates from the third "
        "task on, with all networks drawn anew, and centres logits over the batch, where the paper "
        "centres those of each sample.",
        ("dmc",),
    ),
    Difference(
        "The student copies logits without dropout, as its teachers give them; in the public code "
        "with it, which leaves it little to learn from.",
        ("dmc",),
        {"student_dropout": True},
    ),
    Difference(
        "The memory is balanced over classes, as its paper says. In the public code it is a "
        "reservoir, and optimiser and schedule begin anew in every pass, so the rate stays at "
        "0.05 after a first pass at 0.005.",
        ("gdumb",),
    ),
    Difference(
        "Importances are those of the paper. The public code multiplies new ones by 1 - gamma, "
        "which is 0 at its gamma of 1: it fine-tunes.",
        ("mas",),
    ),
    Difference(
        "Importances are sums over samples, as the paper has them; in the public code squared "
        "gradients of batches, weighed by the mean probability of the labels.",
        ("ewc",),
    ),
    Difference(
        "Importances are the path integral of the paper, along AdamW's steps. The public code "
        "adds up the learning rate times the squared gradient, and clips gradients at 1.",
        ("si",),
    ),
    Difference(
        "Distance and task loss make one update together; in the public code one each.", ("fdr",)
    ),
    Difference(
        "Anchors begin at training samples, and each class has its own mean embedding. In the "
        "public code they begin at noise, with one mean embedding for a task.",
        ("hal",),
    ),
    Difference(
        "The paper's loss: a sum over classes, and labels for new classes. The public code takes "
        "the mean over classes, and configures a weight decay of 1e-5 that it does not read.",
        ("icarl",),
    ),
    Difference(
        "Trained once, over the data of all tasks. The public code trains anew after each task, "
        "on 20 copies of every sample, one for each pass.",
        ("joint",),
    ),
    Difference(
        "New outputs train with the others from the start, and classes not met yet compete as in "
        "prediction. The public code first trains the new ones alone, by SGD, and then lets the "
        "classes seen so far compete.",
        ("lwf",),
    ),
    Difference(
        "A sample is offered to the memory in the first pass; in the public code in every pass.",
        ("gss",),
    ),
)


def differences(preset: Preset, methods: Iterable[str]) -> list[str]:
    """Return what is not as published under a preset, as far as it concerns these methods."""
    asked = sorted(set(methods))
    found = []
    for difference in DIFFERENCES:
        if names := difference.concerned(preset, asked):
            prefix = f"{', '.join(names)}: " if difference.methods else ""
            found.append(prefix + difference.text)
    return found
