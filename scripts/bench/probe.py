"""Probes beside scikit-learn's own on the same arrays: accuracy and time.

    python scripts/bench/probe.py --root ROOT --encoder mobilenetv2.imagenet --names dtd10,grocery

Both learn from the same rows of length 1 with the settings that the probe chose on dev, and judge
the same test rows. Seconds are of one fit with them, without the choice, which is ours alone.
"""

from __future__ import annotations

import argparse
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier

from autods.checks.near import Joined
from autods.checks.probe import PROBES, probe
from autods.core.root import DataRoot
from autods.features.sets import open_features


def theirs(name: str, value: float, classes: int) -> Any:
    if name == "kNN":
        return KNeighborsClassifier(int(value), metric="cosine")
    if name == "LDA":
        priors = np.full(classes, 1 / classes)
        return LinearDiscriminantAnalysis(solver="lsqr", shrinkage=value, priors=priors)
    return LogisticRegression(C=value, max_iter=1000)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--root", type=Path, required=True)
    parser.add_argument("--encoder", required=True)
    parser.add_argument("--names", required=True)
    args = parser.parse_args()
    warnings.simplefilter("ignore")  # what scikit-learn says of steps and collinear columns
    print("| dataset | learned, test | probe | ours | s | scikit-learn | s | same answers |")
    print("|---|---|---|---:|---:|---:|---:|---:|")
    for name in args.names.split(","):
        stored = open_features(DataRoot.open(args.root), args.encoder, name)
        began = time.perf_counter()
        found = probe(stored)
        whole = time.perf_counter() - began
        table, y = Joined([stored]), stored.labels(stored.info.default_task).astype(np.int64)
        rows = np.concatenate([stored.rows("train"), stored.rows("dev")])
        x, asked = table.units(rows), table.units(found.rows)
        for answer in found.answers:
            value, classes = float(answer.setting.split()[-1]), len(found.class_names)
            began = time.perf_counter()
            PROBES[answer.name][2](x, y[rows], asked, value, classes)
            ours = time.perf_counter() - began
            began = time.perf_counter()
            model = theirs(answer.name, value, len(np.unique(y[rows]))).fit(x, y[rows])
            guess = model.predict(asked)
            print(
                f"| {name} | {len(rows):,}, {len(asked):,} | {answer.name}, {answer.setting} | "
                f"{answer.accuracy:.1%} | {ours:.2f} | {(guess == found.labels).mean():.1%} | "
                f"{time.perf_counter() - began:.2f} | {(guess == answer.predicted).mean():.1%} |",
                flush=True,
            )
        print(f"| {name} | | all, choice included | | {whole:.1f} | | | |", flush=True)


if __name__ == "__main__":
    main()
