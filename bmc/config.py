"""The typed configuration of a run; the command line is derived from it."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from autods.errors import UsageError

PRECISIONS = ("float32", "tf32", "bf16")

POSITIVE = (
    "learning_rate", "consolidation_rate", "feature_norm", "knn_temperature", "fecam_shrinkage",
    "klda_gamma", "acil_gamma", "lwf_temperature", "si_xi", "gdumb_rate", "gdumb_last_rate",
    "dmc_rate",
)  # fmt: skip
NOT_NEGATIVE = (
    "weight_decay", "lam", "alpha", "beta", "seed", "patience", "der_alpha", "der_beta",
    "gem_margin", "hal_lambda", "hal_beta", "hal_gamma", "fdr_alpha", "lwf_alpha", "ewc_lambda",
    "ewc_gamma", "si_c", "mas_lambda", "mas_gamma",
)  # fmt: skip


def option(default: Any, text: str) -> Any:
    """Declare a field with the sentence that documentation and ``--help`` show."""
    return field(default=default, metadata={"help": text})


@dataclass(frozen=True)
class Config:
    """Hyper-parameters shared by all methods, then those of single methods."""

    epochs: int = option(10, "Passes over each task's training data.")
    batch_size: int = option(64, "New samples per update.")
    learning_rate: float = option(0.001, "AdamW learning rate of every training but consolidation.")
    weight_decay: float = option(0.01, "AdamW weight decay.")
    hidden: int = option(128, "Width of the input projection.")
    width: int = option(256, "Width of both residual blocks.")
    dropout: float = option(0.3, "Dropout after each residual block.")
    feature_norm: float = option(10.0, "Length that L2-normalised feature rows are scaled to.")
    memory: int = option(2000, "Samples the memory may hold (replay buffer, BMC's memory M).")
    replay_batch: int = option(64, "Memory samples per update of replay methods.")
    experts: int = option(8, "BMC: tasks (experts) per group, k.")
    buffer: int = option(250, "BMC: samples each expert sends to the centre.")
    lam: float = option(0.1, "BMC: weight of the stability loss, lambda.")
    alpha: float = option(1.0, "BMC: weight of the task loss in consolidation.")
    beta: float = option(0.1, "BMC: weight of the batched distillation loss.")
    patience: int = option(
        0, "BMC: an expert ends after so many looks (one a pass) with no better dev loss; 0: never."
    )
    consolidation_epochs: int = option(10, "BMC: draws per group, in sizes of memory and buffers.")
    consolidation_batch: int = option(128, "BMC: samples per update of the consolidation.")
    consolidation_rate: float = option(0.002, "BMC: AdamW learning rate of the consolidation.")
    shrinkage: float = option(
        0.1, "BMC-Analytic, Deep SLDA, KLDA: share of the identity in the covariance."
    )
    projections: int = option(2000, "RanPAC, ACIL, KLDA: random features (RanPAC's paper: 10000).")
    ridge_balanced: bool = option(
        False, "Streaming ridge, RanPAC: every class weighs the same, not every sample."
    )
    sketch: int = option(64, "BMC-Analytic: directions of scatter that an expert sends, r.")
    centre_sketch: int = option(512, "BMC-Analytic: directions of scatter the centre keeps, R.")
    knn_neighbours: int = option(20, "kNN: neighbours that vote.")
    knn_temperature: float = option(0.07, "kNN: T of a neighbour's vote exp(cosine / T).")
    fecam_shrinkage: float = option(
        1.0, "FeCAM, FeCAM (shared): gamma of the covariance shrinkage."
    )
    klda_gamma: float = option(0.3, "KLDA: gamma of the kernel exp(-gamma |x - y|^2).")
    acil_gamma: float = option(1.0, "ACIL: gamma of the ridge, fixed for the whole stream.")
    restart: bool = option(
        False, "Fine-tuning: draw all weights anew at every task, as the published baseline does."
    )
    der_alpha: float = option(0.5, "DER, DER++: weight of the distance to stored logits.")
    der_beta: float = option(1.0, "DER++: weight of the task loss on replayed samples.")
    gem_margin: float = option(0.5, "GEM: gamma, the least value of each constraint's multiplier.")
    gem_constraints: int = option(
        10, "GEM: former tasks that constrain an update, drawn anew for each."
    )
    gss_samples: int = option(10, "GSS: stored samples whose gradients a new one is compared with.")
    hal_lambda: float = option(0.1, "HAL: weight of the loss at anchors.")
    hal_beta: float = option(0.5, "HAL: decay of the running mean embedding of a class.")
    hal_gamma: float = option(0.1, "HAL: weight of the mean embedding when anchors are made.")
    hal_steps: int = option(100, "HAL: gradient steps that make an anchor.")
    fdr_alpha: float = option(1.0, "FDR: weight of the distance to stored probabilities.")
    lwf_alpha: float = option(0.5, "LwF: weight of the distillation from the model before a task.")
    lwf_temperature: float = option(2.0, "LwF: temperature of the distillation.")
    ewc_lambda: float = option(0.7, "Online EWC: weight of the penalty.")
    ewc_gamma: float = option(1.0, "Online EWC: decay of the Fisher information of former tasks.")
    si_c: float = option(0.5, "SI: weight of the penalty.")
    si_xi: float = option(1.0, "SI: damping of the importances.")
    mas_lambda: float = option(0.7, "MAS: weight of the penalty.")
    mas_gamma: float = option(1.0, "MAS: decay of the importances of former tasks.")
    gdumb_epochs: int = option(30, "GDumb: passes over the memory, from new weights, at each task.")
    gdumb_rate: float = option(0.001, "GDumb: learning rate at the first update.")
    gdumb_last_rate: float = option(0.0001, "GDumb: learning rate at the last update; a cosine.")
    dmc_epochs: int = option(10, "DMC: passes of the double distillation.")
    dmc_rate: float = option(0.001, "DMC: learning rate of the double distillation.")
    templates: str = option("default-v1", "Zero-shot CLIP: name of the prompt templates.")
    outputs: str = option(
        "seen", "Classes that compete in training and prediction: seen, or all of the stream."
    )
    precision: str = option("float32", "Of matrix products: float32, tf32 (CUDA), or bf16.")
    capture: bool = option(False, "CUDA: record an update once and replay it (a CUDA graph).")
    evaluate_on: str = option("test", "Split that is measured: test, or dev for tuning.")
    measure_ahead: bool = option(
        False, "Also measure tasks before they are learned, for forward transfer; costs some time."
    )
    seed: int = option(0, "Run seed: initial weights, batches, dropout, memory.")

    def __post_init__(self) -> None:
        for f in fields(self):
            if f.type == "int" and f.name not in ("seed", "patience"):
                self._check(f.name, getattr(self, f.name) >= 1, "1 or more")
        for f in fields(self):
            if f.type == "float":
                self._check(f.name, math.isfinite(getattr(self, f.name)), "a finite number")
        # batch normalisation over one row would only return its bias
        for name in ("batch_size", "consolidation_batch"):
            self._check(name, getattr(self, name) >= 2, "2 or more")
        self._check("evaluate_on", self.evaluate_on in ("test", "dev"), "test or dev")
        self._check("outputs", self.outputs in ("seen", "all"), "seen or all")
        self._check("precision", self.precision in PRECISIONS, ", ".join(PRECISIONS))
        for name in POSITIVE:
            self._check(name, getattr(self, name) > 0, "a number above 0")
        for name in NOT_NEGATIVE:
            self._check(name, getattr(self, name) >= 0, "0 or more")
        self._check("dropout", 0 <= self.dropout < 1, "at least 0 and below 1")
        self._check("shrinkage", 0 < self.shrinkage <= 1, "above 0 and at most 1")

    def _check(self, name: str, right: bool, expected: str) -> None:
        if not right:
            raise UsageError(
                f"{name}: expected {expected}, got {getattr(self, name)}; nothing was run."
            )

    def as_dict(self) -> dict[str, Any]:
        """Return the plain values by field name."""
        return asdict(self)

    def network(self) -> dict[str, Any]:
        """Return the keyword arguments of the network."""
        return {
            "hidden": self.hidden,
            "width": self.width,
            "dropout": self.dropout,
            "precision": self.precision,
        }
