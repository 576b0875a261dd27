"""What differs from the published run, and why, beside every result of `reproduce`.

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
    what, why
        What is done here and what there; the reason.
    methods
        Those that it concerns; none: all.
    unless
        Options with the values of the public code; a difference that has some is one for the
        methods that read these and are set otherwise.
    """

    what: str
    why: str
    methods: tuple[str, ...] = ()
    unless: Mapping[str, Any] = field(default_factory=dict)

    @property
    def text(self) -> str:
        """Return both as the command and the documentation say it."""
        return f"{self.what} Reason: {self.why}"

    def concerned(self, preset: Preset, asked: Iterable[str]) -> list[str]:
        """Return those of the methods that differ in this under a preset."""
        of = [name for name in asked if not self.methods or name in self.methods]
        return [name for name in of if not self.unless or self._set_otherwise(preset, name)]

    def _set_otherwise(self, preset: Preset, method: str) -> bool:
        values = preset.config(method).flat()
        return any(values[key] != value for key, value in self.unless.items() if key in values)


DIFFERENCES = (
    Difference(
        "A tenth of the published training samples is held out and not trained on, and its loss "
        "(on at most 1,024 of them) lowers the learning rate. The public code takes the loss on "
        "the test samples.",
        "test samples that steer the training make its results too good.",
    ),
    Difference(
        "Features are float16, in the public code float32.",
        "half the bytes to store and read; rounding changes a cosine by about 2e-7.",
    ),
    Difference(
        "Cost accuracy is in per cent per MB sent, broadcast and kept.",
        "the poster gives its 6.27 without a unit, so the two cannot be compared.",
    ),
    Difference(
        "Relative time is learning time on one device, where experts train together.",
        "the poster gives its 78 % without the number of devices.",
    ),
    Difference(
        "What is left of a pass after its full batches is trained on together with the next "
        "pass; the public code leaves it out.",
        "every sample counts.",
        unless={"drop_last": True},
    ),
    Difference(
        "Experts are held near the base model, and their features are distilled; in the public "
        "code both losses are commented out.",
        "the poster's equations have them.",
        ("bmc",),
        {"lam": 0.0, "beta": 0.0},
    ),
    Difference(
        "Consolidation draws from all of memory and buffers as they are, at one learning rate. "
        "The public code mixes samples (weight from 0.6 to 1) and holds out 20 % of them, whose "
        "loss lowers the rate.",
        "neither is in the poster's equations.",
        ("bmc",),
        {"mixup": 0.6, "held_out": 0.2},
    ),
    Difference(
        "In consolidation all classes of the stream compete; in the public code those from the "
        "lowest to the highest task of a batch.",
        "all compete in prediction, too.",
        ("bmc",),
        {"task_slice": True},
    ),
    Difference(
        "Buffer and memory are balanced over classes and tasks. In the public code a buffer is "
        "the first samples of a shuffled pass, and the memory a random share of each task.",
        "the poster does not say which samples are chosen.",
        ("bmc",),
        {"buffer_choice": "first", "memory_choice": "share"},
    ),
    Difference(
        "All groups are of one size. In the public code the first task is a group of its own.",
        "the poster has groups of one size; with one expert, as published, there is no difference.",
        ("bmc",),
        {"first_alone": True},
    ),
    Difference(
        "A buffer holds 10,000 samples, in the public code one more.",
        "10,000 is what is configured; the public code counts after it has added.",
        ("bmc",),
    ),
    Difference(
        "Consolidation meets tasks equally often in shuffled rounds; the public code draws tasks "
        "with equal probability, with replacement.",
        "the same mean with less noise.",
        ("bmc",),
    ),
    Difference(
        "An expert's learning rate falls by the loss over its own classes; in the public code by "
        "that over all classes of the stream.",
        "an expert trains and computes no other outputs.",
        ("bmc",),
    ),
    Difference(
        "Fine-tuning goes on from the task before; in the public code every task begins with new "
        "weights.",
        "that is what fine-tuning means.",
        ("finetune",),
        {"restart": True},
    ),
    Difference(
        "A sample is offered to the memory in one pass, in the public code in every pass.",
        "a memory that is offered a sample in every pass fills with copies of it.",
        ("agem-r", "der", "derpp", "er", "er-ace", "gss"),
    ),
    Difference(
        "Samples of former tasks are replayed; in the public code those of the current one, too.",
        "these are in the batch already.",
        ("agem-r", "er", "hal"),
    ),
    Difference(
        "Replayed samples pass through the network together with the batch, in the public code "
        "apart.",
        "both have the same batch statistics then, as in experience replay.",
        ("der", "derpp", "er-ace", "fdr"),
    ),
    Difference(
        "A batch's absent classes do not compete, from the first task on. In the public code "
        "classes not met yet compete, and rule and replay begin at the second task.",
        "the equations of the paper.",
        ("er-ace",),
    ),
    Difference(
        "The memory is shared evenly by the tasks so far; in the public code each task has the "
        "share that it will have after the last one.",
        "fixed shares leave most of the memory empty for most of the stream.",
        ("agem", "gem", "hal"),
    ),
    Difference(
        "A batch of each former task constrains an update, drawn anew for each; in the public "
        "code all its samples do.",
        "the same constraints on average, where all samples of a memory of 10,000 cost 157 "
        "batches an update.",
        ("gem",),
    ),
    Difference(
        "The student regresses on the features of the task and of a memory, and consolidation "
        "begins at the second task. The public code takes images of CIFAR-100, and begins at the "
        "third task, without anything of the first.",
        "the published features have no CIFAR-100, and the paper consolidates every task.",
        ("dmc",),
    ),
    Difference(
        "Expert and student begin as the network of before, an expert's own classes compete, and "
        "logits are centred over the classes of each sample. In the public code networks are "
        "drawn anew, all classes compete, and logits are centred over the batch.",
        "the paper's experts have their own classes and its centring; new weights learn little "
        "from small tasks.",
        ("dmc",),
        {"centred": "batch", "competition": "all", "restart": True},
    ),
    Difference(
        "The student copies logits without dropout, as its teachers give them; in the public "
        "code with it.",
        "dropout leaves it little to learn from.",
        ("dmc",),
        {"student_dropout": True},
    ),
    Difference(
        "The memory is balanced over classes. In the public code it is a reservoir, and "
        "optimiser and schedule begin anew in every pass, so the rate stays at 0.05 after a "
        "first pass at 0.005.",
        "balance over classes is the method of the paper; a schedule begun anew never falls.",
        ("gdumb",),
    ),
    Difference(
        "Importances are those of the paper. The public code multiplies new ones by 1 - gamma, "
        "which is 0 at its gamma of 1: it fine-tunes.",
        "a method that does nothing compares nothing.",
        ("mas",),
    ),
    Difference(
        "Importances are sums over samples; in the public code squared gradients of batches, "
        "weighed by the mean probability of the labels.",
        "the paper's Fisher information.",
        ("ewc",),
    ),
    Difference(
        "Importances are the path integral along AdamW's steps. The public code adds up the "
        "learning rate times the squared gradient, which is that of SGD, and clips gradients at "
        "1.",
        "the paper's definition holds for the steps that are made.",
        ("si",),
    ),
    Difference(
        "Distance and task loss make one update together, and the distance is the root of a "
        "mean; in the public code one update each, and a mean of roots.",
        "the objective and the norm of the paper.",
        ("fdr",),
    ),
    Difference(
        "Anchors begin at training samples, each class has its own mean embedding, and a task's "
        "share of the memory is a random sample of it. In the public code anchors begin at noise, "
        "with one mean embedding for a task, and its last samples are kept.",
        "the paper's anchors are of a class; noise is far from all features.",
        ("hal",),
    ),
    Difference(
        "The loss is a sum over classes, and features are compared at length 1. The public code "
        "takes the mean over classes, and features as they are.",
        "the algorithms of the paper; AdamW's steps do not depend on the scale of a loss.",
        ("icarl",),
    ),
    Difference(
        "The weight decay is 1e-5; the public code configures it, does not read it, and has 0.01.",
        "the published configuration.",
        ("icarl",),
        {"weight_decay": 0.01},
    ),
    Difference(
        "The learning rate falls by the development loss. The public code measures no loss for "
        "these two, so the rate falls to a tenth after 11 passes, whatever they learn.",
        "one rule for all methods.",
        ("icarl", "joint"),
    ),
    Difference(
        "Trained once, over the data of all tasks. The public code trains anew after each task, "
        "on 20 copies of every sample, one for each pass.",
        "only the last training counts as a reference; 400 passes, 71 times, are out of reach.",
        ("joint",),
    ),
    Difference(
        "New outputs train with the others from the start, and classes not met yet compete. The "
        "public code first trains the new ones alone, by SGD, and then lets the classes seen so "
        "far compete.",
        "training of the same length for all methods, over the classes that compete in prediction.",
        ("lwf",),
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
