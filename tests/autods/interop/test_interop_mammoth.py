"""Mammoth's dataset class, on a stand-in: Mammoth itself is no package that could be installed.

The stand-in, written after Mammoth's documentation, has what the class touches: packages
``datasets`` and ``backbone`` in the folder that the program runs from, a base class that counts
tasks and class offsets, and `store_masked_loaders`, which keeps the current classes.
"""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from autods.errors import UsageError
from autods.interop.mammoth import stream_dataset
from autods.streams.synthetic import synthetic_stream

EXAMPLE = Path(__file__).resolve().parents[3] / "docs" / "examples" / "mammoth_dataset.py"

STAND_IN = {
    "backbone/__init__.py": """
from torch import nn
REGISTERED = {}
class MammothBackbone(nn.Module):
    pass
def register_backbone(name):
    return lambda made: REGISTERED.setdefault(name, made)
""",
    "datasets/__init__.py": "",
    "datasets/utils/__init__.py": """
import inspect
DEFAULTS = {}
def set_default_from_args(option):
    name = inspect.currentframe().f_back.f_locals["NAME"]
    def keep(function):
        DEFAULTS.setdefault(name, {})[option] = function(None)
        return function
    return keep
""",
    "datasets/utils/continual_dataset.py": """
import numpy as np
from torch.utils.data import DataLoader
class ContinualDataset:
    def __init__(self, args):
        self.args, self.c_task, self.test_loaders = args, -1, []
        if args.joint:
            self.N_CLASSES_PER_TASK, self.N_TASKS = self.N_CLASSES, 1
    def get_offsets(self):
        if isinstance(self.N_CLASSES_PER_TASK, int):
            return 0, self.N_CLASSES_PER_TASK
        start = sum(self.N_CLASSES_PER_TASK[: self.c_task])
        return start, start + self.N_CLASSES_PER_TASK[self.c_task]
def store_masked_loaders(train, test, setting):
    setting.c_task += 1
    start, stop = setting.get_offsets()
    lowest = 0 if setting.args.validation_mode == "complete" else start
    for part, first in ((train, start), (test, lowest)):
        kept = (part.targets >= first) & (part.targets < stop)
        part.data, part.targets = part.data[kept], part.targets[kept]
    setting.test_loaders.append(DataLoader(test, batch_size=8))
    return DataLoader(train, batch_size=8), setting.test_loaders[-1]
""",
    "main.py": """
import inspect, json, sys
from argparse import Namespace
import numpy as np, torch
import datasets.autods_stream as module
from backbone import REGISTERED
from datasets.utils import DEFAULTS
found = [c for c in vars(module).values() if isinstance(c, type)
         and "ContinualDataset" in str(inspect.getmro(c)[1:])]
(made,) = found
for number, options in enumerate(json.loads(sys.argv[1])):
    dataset, out = made(Namespace(**options)), {}
    for task in range(dataset.N_TASKS):
        train, test = dataset.get_data_loaders()
        x, y, plain = (torch.cat(parts) for parts in zip(*train))
        assert torch.equal(x, plain) and x.dtype == torch.float32
        out[f"x_train_{task}"], out[f"y_train_{task}"] = x, y
        x, y = (torch.cat(parts) for parts in zip(*test))
        out[f"x_test_{task}"], out[f"y_test_{task}"] = x, y
    np.savez(f"{number}.npz", **out)
net = REGISTERED[dataset.get_backbone()]()
logits, hidden = net(x, returnt="full")
assert torch.equal(net(x), logits) and torch.equal(net(x, returnt="features"), hidden)
dataset.get_loss()(logits, y).backward()
assert dataset.get_transform() is None
print(json.dumps({"name": dataset.NAME, "setting": dataset.SETTING, "size": dataset.SIZE,
                  "classes": dataset.N_CLASSES, "logits": list(logits.shape),
                  "names": dataset.get_class_names(), "defaults": DEFAULTS[dataset.NAME],
                  "own": [dataset.get_epochs(), dataset.get_batch_size()]}))
""",
}
PLAIN = {"permute_classes": 0, "joint": 0, "validation_mode": "current"}
OPTIONS = [PLAIN, PLAIN | {"validation_mode": "complete"}, PLAIN | {"joint": 1}]


def run_mammoth(folder: Path, *options: dict[str, object]) -> subprocess.CompletedProcess[str]:
    for name, text in STAND_IN.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text, encoding="utf-8")
    (folder / "datasets" / "autods_stream.py").write_text(
        EXAMPLE.read_text(encoding="utf-8"), encoding="utf-8"
    )
    command = [sys.executable, "main.py", json.dumps(options)]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)


def test_mammoth_loads_the_tasks_of_the_stream(tmp_path):
    done = run_mammoth(tmp_path, *OPTIONS)
    assert done.returncode == 0, done.stderr
    stream = synthetic_stream(tasks=5, classes=700, dim=64, order=7)  # the example's
    assert len({len(task.class_names) for task in stream.tasks}) > 1
    for number, options in enumerate(OPTIONS):
        found = np.load(tmp_path / f"{number}.npz")
        for t in range(1 if options["joint"] else 5):
            upto, own = stream.tasks[: t + 1], stream.tasks[t : t + 1]
            tested = upto if options["validation_mode"] == "complete" else own
            for split, tasks in (("train", own), ("test", tested)):
                sets = [getattr(task, split) for task in stream.tasks if options["joint"]]
                sets = sets or [getattr(task, split) for task in tasks]
                x = found[f"x_{split}_{t}"].astype(np.float16)
                assert x.tobytes() == b"".join(part.features.tobytes() for part in sets)
                labels = np.concatenate([part.labels for part in sets])
                assert np.array_equal(found[f"y_{split}_{t}"], labels)
    said = json.loads(done.stdout)
    assert said["names"] == [name for task in stream.tasks for name in task.class_names]
    assert (said["name"], said["setting"], said["size"]) == ("autods", "class-il", [64])
    assert said["classes"] == stream.n_classes == said["logits"][1]
    assert said["defaults"] == {"backbone": "autods-mlp", "n_epochs": 5, "batch_size": 64}
    assert said["own"] == [5, 64]


def test_mammoth_may_not_permute_the_classes_of_a_stream(tmp_path):
    done = run_mammoth(tmp_path, PLAIN | {"permute_classes": 1})
    assert done.returncode == 1
    assert "run Mammoth with --permute_classes=0" in done.stderr


def test_outside_of_mammoth_the_message_says_where_the_file_belongs():
    with pytest.raises(UsageError, match="Put the file that calls stream_dataset into Mammoth's"):
        stream_dataset(synthetic_stream(tasks=2, classes=142, dim=4))
    assert "datasets.utils.continual_dataset" not in sys.modules
