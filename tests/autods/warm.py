"""Commands that start warm: one process imports the packages, and each command is a fork of it.

A command is as real as from a shell (a process, arguments, folder, environment, streams, exit
code of its own) but for the seconds in which torch is imported; signals reach it, too.
`program` gives ``autods``, ``bmc-stream`` or ``python``; all three lie in the folder `programs`.
"""

import atexit
import json
import os
import runpy
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from contextlib import suppress
from functools import cache
from pathlib import Path

PROGRAMS = {"autods": "autods.cli.app", "bmc-stream": "bmc.cli.app", "python": ""}
HEAVY = (
    "torch", "torch.utils.tensorboard", "open_clip", "timm", "h5py", "pyarrow.parquet", "pandas",
    "altair", "vl_convert", "scipy.stats", "sklearn", "autods.encode.extract", "autods.cli.app",
    "bmc.runs.run", "bmc.report", "bmc.cli.app",
)  # fmt: skip

CLIENT = """\
#!{python} -SE
import json, os, signal, socket, sys
server = socket.socket(socket.AF_UNIX)
server.connect({address!r})
asked = {{"program": {name!r}, "argv": sys.argv[1:], "cwd": os.getcwd(), "env": dict(os.environ)}}
message = json.dumps(asked).encode()
socket.send_fds(server, [len(message).to_bytes(8, "big")], [0, 1, 2])
server.sendall(message)
for number in (signal.SIGINT, signal.SIGTERM):
    signal.signal(number, lambda number, _: server.send(bytes([number])))
sys.exit(int(server.recv(8) or b"70"))
"""


def program(name: str) -> str:
    """Return the path of a warm program."""
    return str(programs() / name)


@cache
def programs() -> Path:
    """Start the server, once for this process, and return the folder of its programs."""
    folder = Path(tempfile.mkdtemp(prefix="warm-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    address = folder / "socket"
    for name in PROGRAMS:
        client = folder / name
        text = CLIENT.format(python=sys.executable, address=str(address), name=name)
        client.write_text(text, encoding="utf-8")
        client.chmod(0o755)
    (folder / "python3").symlink_to("python")
    pipe = subprocess.PIPE  # the server ends with its input, that is, with this process
    server = subprocess.Popen([sys.executable, __file__, address], stdin=pipe, stdout=pipe)
    atexit.register(server.communicate)
    assert server.stdout is not None
    assert server.stdout.readline() == b"ready\n"
    return folder


def environment() -> dict[str, str]:
    """Return variables with which a shell finds the warm programs first."""
    path = f"{programs()}{os.pathsep}{os.environ['PATH']}"
    return {**os.environ, "PATH": path, "OMP_NUM_THREADS": "1"}


def serve(address: str) -> None:
    """Fork for every connection; end with the input."""
    server = socket.socket(socket.AF_UNIX)
    server.bind(address)
    server.listen(16)
    for module in HEAVY:
        __import__(module)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody asks for the ends of handlers
    print("ready", flush=True)
    while server in select.select([server, sys.stdin], [], [])[0]:
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
    ended = os.pidfd_open(child)
    while ended not in select.select([connection, ended], [], [])[0]:
        number = connection.recv(1)  # a signal to pass on; nothing: the client was killed
        os.kill(child, number[0] if number else signal.SIGKILL)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    with suppress(BrokenPipeError):
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
