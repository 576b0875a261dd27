"""What each command does on a machine that refuses: one line for each, and what is there then.

Disk full, a root that can only be read, files of another user, 64 open files, little memory, a
clock set back by a year, two processes at once. Needs Linux and the right to mount (root, or user
namespaces); what cannot be tried is said. Fails if a command ends in a traceback, or if the same
command, run again on a sound machine, does not complete what was begun.

    python scripts/bench/machine.py [WORK] [--only CONDITION] [--memory MB]
"""

from __future__ import annotations

import argparse
import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
ENCODER = "timm-test_efficientnet.r160_in1k.random-0"
ROOT = ["--root", "root", "--manifests", "m"]
FETCH = ["autods", "fetch", "shapes", *ROOT]
INDEX = ["autods", "index", "shapes", *ROOT]
EXTRACT = ["autods", "extract", "shapes", *ROOT, "--model", "timm:test_efficientnet"]
EXTRACT += ["--random-weights", "0"]
VERIFY = ["autods", "verify", *ROOT]
STATUS = ["autods", "status", *ROOT]
EXPORT = ["autods", "export", "shapes", "--root", "root", "--encoder", ENCODER, "--to", "npz"]
EXPORT += ["--out", "root/exported"]
RUN = ["bmc-stream", "run", "--scenario", "class-il", "--stream", "shapes", "--root", "root"]
RUN += [
    "--encoder",
    ENCODER,
    "--method",
    "ncm,er",
    "--epochs",
    "2",
    "--out",
    "root/runs",
    "--resume",
]
CHAIN = [FETCH, INDEX, EXTRACT, EXPORT, RUN]
BACK = """
import time, datetime
YEAR = 365 * 86400
now, now_ns = time.time, time.time_ns
time.time = lambda: now() - YEAR
time.time_ns = lambda: now_ns() - YEAR * 10**9
"""


@dataclass
class Outcome:
    """How a command ended."""

    code: int
    text: str
    last: str = field(init=False)

    def __post_init__(self) -> None:
        lines = [line for line in self.text.splitlines() if line.strip()]
        lines = [line for line in lines if not line.startswith(("Next:", "Report:"))] or lines
        errors = [line for line in lines if line.startswith("error:")]
        self.last = (errors or lines or [""])[-1].strip()

    @property
    def is_traceback(self) -> bool:
        """Whether a user saw a traceback, or a signal ended the command."""
        return "Traceback (most recent call last)" in self.text or self.code < 0


class Machine:
    """A folder with images and a root, in which commands run under conditions."""

    def __init__(self, work: Path) -> None:
        self.work = work
        self.failed: list[str] = []

    def run(self, command: list[str], before: str = "", **environment: str) -> Outcome:
        """Run a command from this folder; ``before`` are lines of the shell that starts it."""
        mount = "mount " in before
        script = f"set -e\n{before}\nexec {shlex.join(command)}"
        wrapped = ["unshare", "-rm", "bash", "-c", script] if mount else ["bash", "-c", script]
        done = subprocess.run(
            wrapped, cwd=self.work, env=self._environment(environment), check=False,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace",
        )  # fmt: skip
        return Outcome(done.returncode, done.stdout)

    def start(self, command: list[str]) -> subprocess.Popen[str]:
        """Start a command, to run beside others."""
        return subprocess.Popen(
            command, cwd=self.work, env=self._environment({}), text=True, errors="replace",
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip

    def tell(self, condition: str, command: list[str], outcome: Outcome, then: str = "") -> None:
        """Print the line of a command under a condition."""
        what = f"{command[0]} {command[1]}"
        text = outcome.last.replace(str(self.work), "WORK")
        print(f"{condition:18}  {what:17}  {outcome.code:3}  {text[:230]}{then}", flush=True)
        if outcome.is_traceback:
            self.failed.append(f"{condition}: {what}: a traceback or a crash")
            print(outcome.text[-1500:])

    def complete(self, condition: str) -> None:
        """Run everything on a sound machine; what was begun must be completed, and be whole."""
        for command in [*CHAIN, VERIFY]:
            if (done := self.run(command)).code:
                self.failed.append(f"{condition}: afterwards, {command[1]}: {done.last}")
        print(f"{condition:18}  afterwards all commands complete, verify: {done.last[:60]}")

    def _environment(self, more: dict[str, str]) -> dict[str, str]:
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        paths = [*more.pop("PYTHONPATH", "").split(os.pathsep), str(REPOSITORY)]
        found = os.pathsep.join(filter(None, paths))
        return {**os.environ, "PATH": path, "PYTHONPATH": found, "OMP_NUM_THREADS": "1", **more}

    def root(self, finished: bool) -> None:
        """Make the root anew: empty, or with everything."""
        shutil.rmtree(self.work / "root", ignore_errors=True)
        if finished:
            shutil.copytree(self.work / "whole", self.work / "root")


def prepare(work: Path) -> Machine:
    """Draw images and run every command once, as the state that others begin from."""
    machine = Machine(work)
    if not (work / "whole").exists():
        images = [sys.executable, str(REPOSITORY / "scripts" / "demo_images.py"), "images"]
        new = ["autods", "new", "shapes", "--folder", "images/shapes", "--out", "m"]
        for command in (images, new, *CHAIN):
            if (done := machine.run(command)).code:
                sys.exit(f"{shlex.join(command)}: {done.text}")
        (work / "root").rename(work / "whole")
    return machine


def full(machine: Machine) -> None:
    """Run each command on a disk that is full before it ends."""
    for number, command in enumerate(CHAIN):
        machine.root(finished=False)
        for done in CHAIN[:number]:
            machine.run(done)
        size = sum(f.stat().st_size for f in (machine.work / "root").rglob("*") if f.is_file())
        blocks = (size + 60 * 4096 * (number > 0)) // 1024 + 120  # files take whole pages
        disk = (
            f"mkdir -p kept root; cp -a root/. kept/; mount -t tmpfs -o size={blocks}k none root; "
            "cp -a kept/. root/; head -c 100000000 /dev/zero > root/filler 2> /dev/null || true; "
            "truncate -s -8K root/filler"
        )
        machine.tell("disk full", command, machine.run(command, disk))
        shutil.rmtree(machine.work / "kept", ignore_errors=True)
    limit = "ulimit -f 4"  # 4 KiB for a file: a quota that refuses the first larger one
    machine.root(finished=False)
    for command in CHAIN:
        machine.tell("4 KiB a file", command, machine.run(command, limit))
        machine.run(command)
    machine.complete("disk full")


def read_only(machine: Machine) -> None:
    """Run each command on a root that is mounted for reading."""
    machine.root(finished=True)
    mount = "mount --bind root root; mount -o remount,ro,bind root"
    elsewhere = [*RUN[: RUN.index("root/runs")], "runs-elsewhere"]
    for command in (STATUS, VERIFY, FETCH, INDEX, EXTRACT, elsewhere, EXPORT, RUN):
        machine.tell("read-only root", command, machine.run(command, mount))
    shutil.rmtree(machine.work / "runs-elsewhere", ignore_errors=True)
    machine.complete("read-only root")


def foreign(machine: Machine) -> None:
    """Run each command as a user who owns nothing of the root and may not write in it."""
    machine.root(finished=True)
    nobody = ["setpriv", "--bounding-set=-all", "--inh-caps=-all", "--ambient-caps=-all"]
    if machine.run([*nobody, "true"]).code or os.getuid():
        print("foreign owner       not tried: needs root and setpriv")
        return
    for path in [machine.work / "root", *(machine.work / "root").rglob("*")]:
        os.chown(path, 12345, 12345)
        path.chmod(0o755 if path.is_dir() else 0o644)
    for command in (STATUS, VERIFY, FETCH, INDEX, EXTRACT, EXPORT, RUN):
        machine.tell("foreign owner", command, machine.run([*nobody, *command]))
    machine.complete("foreign owner")


def limited(condition: str, limit: str) -> Callable[[Machine], None]:
    """Return what runs each command under a limit of the shell."""

    def tried(machine: Machine) -> None:
        machine.root(finished=False)
        for command in [*CHAIN, VERIFY]:
            machine.tell(condition, command, machine.run(command, limit))
        machine.complete(condition)

    return tried


def clock(machine: Machine) -> None:
    """Begin today, and go on with a clock that is set back by a year; then the other way."""
    folder = machine.work / "back"
    folder.mkdir(exist_ok=True)
    (folder / "sitecustomize.py").write_text(BACK, encoding="utf-8")
    machine.root(finished=True)
    for command in [*CHAIN, VERIFY]:
        outcome = machine.run(command, PYTHONPATH=str(folder))
        machine.tell("clock back, kept", command, outcome)
    machine.root(finished=False)
    for command in [*CHAIN, VERIFY]:
        machine.tell("clock back, new", command, machine.run(command, PYTHONPATH=str(folder)))
    machine.complete("clock back")


def two(machine: Machine) -> None:
    """Run each command twice at once, from the state before it."""
    machine.root(finished=False)
    for command in [*CHAIN, VERIFY, ["bmc-stream", "report", "root/runs"]]:
        processes = [machine.start(command) for _ in range(2)]
        for process in processes:
            text, _ = process.communicate()
            machine.tell("two at once", command, Outcome(process.returncode, text))
    machine.complete("two at once")


def main() -> None:
    """Try every condition and fail for what ended badly."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("work", nargs="?", type=Path, default=Path("machine"))
    parser.add_argument("--only", help="one condition")
    parser.add_argument("--memory", type=int, default=1500, help="MB of address space")
    options = parser.parse_args()
    options.work.mkdir(parents=True, exist_ok=True)
    machine = prepare(options.work.resolve())
    memory = f"ulimit -v {options.memory * 1024}"
    conditions: dict[str, Callable[[Machine], None]] = {
        "full": full, "read-only": read_only, "foreign": foreign,
        "files": limited("64 open files", "ulimit -n 64"),
        "memory": limited(f"{options.memory} MB memory", memory),
        "clock": clock, "two": two,
    }  # fmt: skip
    for name, tried in conditions.items():
        if options.only in (None, name):
            tried(machine)
    shutil.rmtree(machine.work / "root", ignore_errors=True)
    for line in machine.failed:
        print(f"FAILED {line}")
    sys.exit(bool(machine.failed))


if __name__ == "__main__":
    main()
