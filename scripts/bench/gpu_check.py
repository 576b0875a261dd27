"""Check on a CUDA device that everything is right there, then how fast it is.

Each part runs in a process of its own and has its share of the time, so that a fault, or a kernel
that never ends, costs that part alone. ``OUT/PART.json`` is written after every measurement,
``OUT/gpu_check.json`` after every part; what is in the former is not measured again, so that the
same command goes on. The latter has all that is needed to find a fault from afar: tracebacks, what
the machine is, and the end of what each part printed (``OUT/logs/PART.txt``), with the stacks of a
part that hung. Ends with 1 if a measurement failed or a value is out of its bound.
"""

from __future__ import annotations

import argparse
import faulthandler
import json
import multiprocessing
import os
import platform
import signal
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from gpu.correct import bank, right
from gpu.encoding import encode, files
from gpu.findings import Findings, failures, told, unmeasured, write
from gpu.updates import kernels, steps
from gpu.whole import full

Part = Callable[[Findings, torch.device, bool], None]
LIVES = 12  # processes that one part may use up
LEAST = 5.0  # seconds: no part begins with less
GRACE = 10.0  # seconds that a part may overrun
PRINTED = 3000  # characters kept of what a part printed
NO_DEVICE = 3  # exit status of a part
SETTINGS = ("CUDA", "CUBLAS", "NVIDIA", "PYTORCH", "TORCH")  # begin the names of variables


@dataclass(frozen=True)
class Share:
    """A part, and the seconds that it has of 340."""

    run: Part
    seconds: float


PARTS = {
    "right": Share(right, 85),
    "bank": Share(bank, 15),
    "steps": Share(steps, 65),
    "kernels": Share(kernels, 15),
    "full": Share(full, 90),
    "encode": Share(encode, 35),
    "files": Share(files, 35),
}
BUDGET = sum(share.seconds for share in PARTS.values())


def main() -> None:
    options = arguments()
    options.out.mkdir(parents=True, exist_ok=True)
    report: dict[str, Any] = {"began": time.strftime("%Y-%m-%d %H:%M:%S"), "parts": {}}
    seconds: dict[str, float] = {}
    ends = time.perf_counter() + options.budget
    names = options.only or list(PARTS)
    for number, name in enumerate(names):
        left = ends - time.perf_counter()
        shares = [PARTS[other].seconds for other in names[number:]]
        began = time.perf_counter()  # what earlier parts left over is shared out
        values = guarded(name, left * shares[0] / sum(shares), options)
        seconds[name] = round(time.perf_counter() - began, 1)
        report["parts"][name] = values
        machine = values.pop("machine", None)
        report |= {"machine": machine or report.get("machine", {}), "seconds": seconds}
        report.setdefault("printed", {})[name] = printed(options.out, name)
        report["failures"] = failures(report["parts"])
        report["not measured"] = unmeasured(report["parts"])
        write(options.out / "gpu_check.json", report)
        bad = [failure for failure in report["failures"] if failure.startswith(f"{name}: ")]
        late = len(unmeasured({name: values}))
        missing = f", {late} not measured for want of time" if late else ""
        made = len(values) - late
        print(f"{name}: {seconds[name]} s, {made} measurements, {len(bad)} failures{missing}")
        for failure in bad:
            value = str(values[failure.removeprefix(f"{name}: ")])
            print(f"  {failure}: {value.splitlines()[0]}")
        sys.stdout.flush()
    if report["not measured"]:
        print("The same command again measures what is missing.")
    sys.exit(bool(report["failures"] or report["not measured"]))


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path, help="folder of the JSON files")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--tiny", action="store_true", help="small sizes: a dry run on a CPU")
    parser.add_argument("--only", nargs="+", choices=PARTS, help="parts to run")
    parser.add_argument("--budget", type=float, default=BUDGET, help="seconds of all parts")
    return parser.parse_args()


def guarded(name: str, seconds: float, options: argparse.Namespace) -> dict[str, Any]:
    """Run one part in processes of its own; return what it found.

    A part whose process died, or lost its CUDA context, goes on in a new one.
    """
    path, ends = options.out / f"{name}.json", time.perf_counter() + seconds
    status: int | None = None
    for life in range(LIVES):
        left = ends - time.perf_counter()
        if life and left < LEAST:
            break
        # a fork has the imports already; nothing here has touched CUDA
        child = multiprocessing.get_context("fork").Process(
            target=run_part, args=(name, left, options)
        )
        child.start()
        child.join(max(left, 1) + GRACE)  # the part sees to its time unless it hangs
        hangs = child.is_alive()
        with suppress(ProcessLookupError):  # what it started may live on
            os.killpg(child.pid or 0, signal.SIGKILL)
        child.join()
        if hangs:
            status = None
            break
        status = child.exitcode
        if status == NO_DEVICE:
            sys.exit(
                f"--device {options.device}: expected a CUDA device, torch {torch.__version__} "
                "finds none; nothing was measured. --device cpu --tiny is a dry run."
            )
        if status == 0:
            break
    values: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}
    if status != 0:
        ended = "was stopped: its time was up" if status is None else f"ended with {status}"
        values["part"] = f"ERROR the process {ended}"
    return values


def run_part(name: str, seconds: float, options: argparse.Namespace) -> None:
    """Be the process of a part."""
    os.setsid()  # whatever it starts ends with it
    log = log_of(options.out, name)
    log.parent.mkdir(exist_ok=True)
    with log.open("a") as file:
        os.dup2(file.fileno(), 1)  # a device that asserts prints what it did not like
        os.dup2(file.fileno(), 2)
    faulthandler.enable()
    faulthandler.dump_traceback_later(max(seconds, 1) + GRACE / 2)  # where it hangs, before its end
    torch.set_num_threads(1)
    findings = Findings(options.out / f"{name}.json", seconds)
    device = torch.device(options.device)
    if device.type == "cuda" and not torch.cuda.is_available():
        sys.exit(NO_DEVICE)
    findings.measure("machine", lambda: machine(device))
    findings.guard("part", lambda: PARTS[name].run(findings, device, options.tiny))


def log_of(out: Path, name: str) -> Path:
    """Return the file of what a part prints."""
    return out / "logs" / f"{name}.txt"


def printed(out: Path, name: str) -> str:
    """Return the end of what a part printed."""
    log = log_of(out, name)
    return log.read_text(errors="replace")[-PRINTED:] if log.exists() else ""


def machine(device: torch.device) -> dict[str, Any]:
    """Say what is measured on; a fact that cannot be had is told, and the others are there."""
    facts: dict[str, Callable[[], Any]] = {
        "device": lambda: "CPU",
        "python": platform.python_version,
        "torch": lambda: str(torch.__version__),
        "system": platform.platform,
        "cores": lambda: len(os.sched_getaffinity(0)),
    }
    if device.type == "cuda":
        facts |= {
            "device": lambda: torch.cuda.get_device_name(device),
            "cuda": lambda: str(torch.version.cuda),
            "driver": lambda: Path("/proc/driver/nvidia/version").read_text().splitlines()[0],
            "capability": lambda: torch.cuda.get_device_capability(device),
            "devices": torch.cuda.device_count,
            "GiB free and in all": lambda: [
                round(n / 2**30, 1) for n in torch.cuda.mem_get_info(device)
            ],
            "settings": lambda: {k: v for k, v in os.environ.items() if k.startswith(SETTINGS)},
        }
    found: dict[str, Any] = {}
    for fact, read in facts.items():
        try:
            found[fact] = read()
        except Exception as error:  # a driver may lack any of them
            found[fact] = told(error).splitlines()[0]
    return found


if __name__ == "__main__":
    main()
