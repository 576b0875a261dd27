"""Three sites in three processes, each with a folder of its own, against one run with all data.

    python scripts/bench/sites.py --root ROOT --encoder NAME --datasets A,B,C

Prints the bytes that travel and whether the last base equals the checkpoint of the run, bit for
bit, in tensors and in accuracies.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import torch
import yaml
from safetensors.torch import load_file

import autods
from autods.streams.stream import Stream
from bmc.sites.model import centre_path

PROGRAM = [sys.executable, "-c", "from bmc.cli.app import main; main()"]
METHODS = {"bmc": ["-o", "bmc.experts=2"], "bmc-gaussian": [], "bmc-analytic": []}


def start(*arguments: object, cwd: Path) -> subprocess.Popen[str]:
    return subprocess.Popen([*PROGRAM, *map(str, arguments)], cwd=cwd, text=True,
                            stdout=subprocess.PIPE)  # fmt: skip


def called(*arguments: object, cwd: Path) -> str:
    process = start(*arguments, cwd=cwd)
    said, _ = process.communicate()
    if process.returncode:
        raise SystemExit(f"{arguments[0]} failed")
    return said


def sites_of(stream: Stream, root: Path, encoder: str, work: Path) -> dict[str, Path]:
    """Give each dataset a folder of its own, as a machine of its own would have."""
    folders = {}
    for task in stream.tasks:
        folders[task.name] = work / f"site-{task.name}"
        source = Path("features") / encoder / task.dataset
        shutil.copytree(root / source, folders[task.name] / "data" / source)
    return folders


def definition(stream: Stream, encoder: str, path: Path) -> Path:
    """Write the names that the sites have agreed on."""
    datasets = [{"dataset": t.dataset, "name": t.name, "classes": t.class_names}
                for t in stream.tasks]  # fmt: skip
    spec = {"name": "sites", "encoder": encoder, "datasets": datasets}
    path.write_text(yaml.safe_dump(spec, sort_keys=False))
    return path


def across(
    method: str, given: list[object], dim: int, sites: dict[str, Path], centre: Path
) -> Path:
    """Learn the stream in rounds; print what travels; return the last base."""
    described = json.loads(
        called("base", *given, "--dim", dim, "--out", f"{method}-0", "--json", cwd=centre)
    )
    number = 0
    while described["next"]:
        base = f"{method}-{number}"
        processes = {}
        for name in described["next"]:
            shutil.copy(centre / base, sites[name])
            processes[name] = start(
                "expert", "--base", base, "--dataset", name, "--root", "data",
                "--out", f"{method}-{name}", "--json", cwd=sites[name],
            )  # fmt: skip
        for name, process in processes.items():
            said = json.loads(process.communicate()[0])
            shutil.copy(sites[name] / f"{method}-{name}", centre)
            samples = sum(said["classes"].values())
            print(f"| {method} | message of {name}, {len(said['classes'])} classes, "
                  f"{samples:,} samples | {said['bytes']:,} |")  # fmt: skip
        messages = [f"{method}-{name}" for name in processes]
        number += 1
        described = json.loads(
            called("consolidate", base, *messages, "--out", f"{method}-{number}", "--json",
                   cwd=centre)
        )  # fmt: skip
    last = centre / f"{method}-{number}"
    print(f"| {method} | base, to each site | {last.stat().st_size:,} |")
    print(f"| {method} | kept by the centre | {centre_path(last).stat().st_size:,} |")
    return last


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--root", type=Path, required=True)
    parser.add_argument("--encoder", required=True)
    parser.add_argument("--datasets", default="trashnet,flowers17,pokemon5")
    options = parser.parse_args()
    stream = autods.open_stream(options.datasets, options.root, options.encoder)
    print("| method | file | bytes |\n|---|---|---|")
    said = []
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        centre = work / "centre"
        centre.mkdir()
        sites = sites_of(stream, options.root, options.encoder, work)
        spec = definition(stream, options.encoder, work / "sites.yaml")
        for method, own in METHODS.items():
            given = ["--method", method, *own, "--stream", spec]
            last = across(method, given, stream.dim, sites, centre)
            runs = work / f"run-{method}"
            called("run", "--scenario", "class-il", *given, "--root", options.root, "--out", runs,
                   cwd=work)  # fmt: skip
            (results,) = runs.rglob("results.json")
            measured = json.loads(
                called("evaluate", last, "--root", options.root, "--json", cwd=work)
            )
            ours = load_file(last) | load_file(centre_path(last))
            theirs = load_file(results.with_name("checkpoint.safetensors"))
            same = ours.keys() == theirs.keys() and all(
                torch.equal(tensor, theirs[name]) for name, tensor in ours.items()
            )
            row = json.loads(results.read_text())["R"]["class-il"][-1]
            alike = [task["class_il"] for task in measured["tasks"]] == row
            said.append(f"{method}: tensors equal: {same}, accuracies equal: {alike}, "
                        f"mean {100 * measured['means']['class_il']:.1f} %")  # fmt: skip
    print("\n".join(["", *said]))


if __name__ == "__main__":
    main()
