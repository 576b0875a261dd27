"""Commands that start warm: one process imports the packages, and each command is a fork of it.

A command is as real as from a shell (a process, arguments, folder, environment, streams, exit
code of its own) but for the seconds in which torch is imported. `Warm` lays ``autods``,
``bmc-stream`` and ``python`` into a folder for the search path.
"""

from __future__ import annotations

import json
import os
import runpy
import signal
import socket
import subprocess
import sys
from pathlib import Path

PROGRAMS = {"autods": "autods.cli.app", "bmc-stream": "bmc.cli.app", "python": ""}
HEAVY = (
    "torch", "torch.utils.tensorboard", "open_clip", "timm", "h5py", "pyarrow.parquet", "pandas",
    "altair", "vl_convert", "scipy.stats", "sklearn", "autods.encode.extract", "autods.cli.app",
    "bmc.runs.run", "bmc.report", "bmc.cli.app",
)  # fmt: skip

CLIENT = """\
#!{python} -SE
import json, os, socket, sys
server = socket.socket(socket.AF_UNIX)
server.connect({address!r})
asked = {{"program": {name!r}, "argv": sys.argv[1:], "cwd": os.getcwd(), "env": dict(os.environ)}}
message = json.dumps(asked).encode()
socket.send_fds(server, [len(message).to_bytes(8, "big")], [0, 1, 2])
server.sendall(message)
sys.exit(int(server.recv(8) or b"70"))
"""


class Warm:
    """The server and its programs; use as a context manager."""

    def __init__(self, folder: Path) -> None:
        self.programs = folder / "programs"
        self.programs.mkdir(parents=True)
        self._address = folder / "socket"
        for name in PROGRAMS:
            client = self.programs / name
            text = CLIENT.format(python=sys.executable, address=str(self._address), name=name)
            client.write_text(text, encoding="utf-8")
            client.chmod(0o755)
        (self.programs / "python3").symlink_to("python")

    @property
    def environment(self) -> dict[str, str]:
        """Variables with which a shell finds the programs first."""
        path = f"{self.programs}{os.pathsep}{os.environ['PATH']}"
        return {**os.environ, "PATH": path, "OMP_NUM_THREADS": "1"}

    def __enter__(self) -> Warm:
        command = [sys.executable, __file__, str(self._address)]
        self._server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert self._server.stdout is not None
        assert self._server.stdout.readline() == "ready\n"
        return self

    def __exit__(self, *_: object) -> None:
        self._server.terminate()
        self._server.wait()


def serve(address: str) -> None:
    """Fork for every connection; end with the process that started this one."""
    server = socket.socket(socket.AF_UNIX)
    server.bind(address)
    server.listen(16)
    for module in HEAVY:
        __import__(module)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody asks for the ends of handlers
    print("ready", flush=True)
    while True:
        connection, _ = server.accept()
        if os.fork() == 0:
            server.close()
            os._exit(handle(connection))
        connection.close()


def handle(connection: socket.socket) -> int:
    """Run one command in a fork, and send its exit code."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    size, descriptors, _, _ = socket.recv_fds(connection, 8, 3)
    message = b""
    while len(message) < int.from_bytes(size, "big"):
        message += connection.recv(1 << 16)
    child = os.fork()
    if child == 0:
        for target, descriptor in enumerate(descriptors):
            os.dup2(descriptor, target)
            os.close(descriptor)
        connection.close()
        run(**json.loads(message))
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    connection.sendall(str(code if code >= 0 else 128 - code).encode())
    return 0


def run(program: str, argv: list[str], cwd: str, env: dict[str, str]) -> None:
    """Become the command: as if it had been started there with these arguments."""
    os.chdir(cwd)
    os.environ.clear()
    os.environ.update(env)
    code: object = 0
    try:
        if program != "python":
            sys.argv = [program, *argv]
            sys.modules[PROGRAMS[program]].main()
        else:
            python(argv)
    except SystemExit as ended:
        code = ended.code
    except BaseException:  # as the interpreter does
        sys.excepthook(*sys.exc_info())
        code = 1
    if isinstance(code, str):
        print(code, file=sys.stderr)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code if isinstance(code, int) else int(code is not None))


def python(argv: list[str]) -> None:
    """Run ``-c TEXT``, ``-m MODULE`` or a file as the interpreter does."""
    kind, *rest = argv
    sys.path.insert(0, "")
    if kind == "-c":
        sys.argv = ["-c", *rest[1:]]
        exec(compile(rest[0], "<string>", "exec"), {"__name__": "__main__"})
    elif kind == "-m":
        sys.argv = rest
        runpy.run_module(rest[0], run_name="__main__", alter_sys=True)
    else:
        sys.argv, sys.path[0] = argv, str(Path(kind).parent)
        runpy.run_path(kind, run_name="__main__")


if __name__ == "__main__":
    serve(sys.argv[1])
