"""Commands that start warm: one process imports the packages, and each command is a fork of it.

A command is as real as from a shell (a process, arguments, folder, environment, streams, exit
code of its own) but for the seconds in which torch is imported; signals reach it, too. The fork
server of its worker processes starts warm as well, and so do the workers of a Ray cluster.
`program` gives ``autods``, ``bmc-stream`` or ``python``; all lie in the folder `programs`.
"""

import atexit
import fcntl
import importlib
import io
import json
import os
import pkgutil
import runpy
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from multiprocessing import util
from pathlib import Path
from unittest.mock import patch

CHECKOUT = str(Path(__file__).parents[2])  # whatever a test makes of PYTHONPATH meanwhile
PROGRAMS = {"autods": "autods.cli.app", "bmc-stream": "bmc.cli.app", "python": "", "ray-worker": ""}
OF_SETUP = ("--serialized-runtime-env-context=", "--language=")  # for Ray's own start of a worker
HEAVY = (
    "torch", "torch._dynamo", "torch.utils.tensorboard", "open_clip", "timm", "h5py",
    "safetensors.torch", "pyarrow.parquet", "pyarrow.pandas_compat", "pandas",
    "pandas.io.formats.csvs", "pandas.io.formats.style", "pandas.core.methods.to_dict", "altair",
    "vl_convert", "narwhals._interchange.dataframe", "scipy.stats", "sklearn",
    "multiprocessing.popen_forkserver",
)  # fmt: skip
PACKAGES = ("autods", "bmc")  # all their modules, which commands import late
BUNDLE = """
from vl_convert import javascript_bundle
from bmc.report.page import RUNTIME
print(javascript_bundle(RUNTIME), end="")
"""

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
    packages = os.pathsep.join([CHECKOUT, os.environ.get("PYTHONPATH", "")])
    server = subprocess.Popen(
        [sys.executable, __file__, address], stdin=pipe, stdout=pipe,
        env={**os.environ, "PYTHONPATH": packages},
    )  # fmt: skip
    atexit.register(server.communicate)
    assert server.stdout is not None
    assert server.stdout.readline() == b"ready\n"
    return folder


def environment() -> dict[str, str]:
    """Return variables with which a shell finds the warm programs first."""
    path = f"{programs()}{os.pathsep}{os.environ['PATH']}"
    return {**os.environ, "PATH": path, "OMP_NUM_THREADS": "1"}


def warm_ray(worker: Callable[[], str]) -> None:
    """Let workers of the Ray clusters that this process starts be the warm program ``worker``."""
    cluster = importlib.import_module("autods.core.ray_cluster")
    found = cluster.require

    @cache
    def replace_workers() -> None:
        parameters = importlib.import_module("ray._private.parameter").RayParams
        cold = parameters.__init__

        def warm(self: object, *args: object, **options: object) -> None:
            cold(self, *args, **{"setup_worker_path": worker(), **options})

        parameters.__init__ = warm

    def require(what: str, name: str) -> None:  # Ray is imported next, with settings of ours
        found(what, name)
        replace_workers()

    cluster.require = require


def running(client: int) -> int:
    """Return the process in which a warm program runs, given the one that was started."""
    (file,) = programs().glob(f"{client}-*.pid")
    return int(file.stem.split("-")[1])


def starter(process: int) -> int:
    """Return the process that started the warm program that runs in this one; 0: none did."""
    for file in programs().glob(f"*-{process}.pid"):
        stat = Path("/proc", file.stem.split("-")[0], "stat").read_text()
        return int(stat.rpartition(")")[2].split()[1])
    return 0


def serve(address: str) -> None:
    """Fork for every connection; end with the input."""
    server = socket.socket(socket.AF_UNIX)
    server.bind(address)
    server.listen(16)
    preload()
    warm_ray(lambda: str(Path(address).with_name("ray-worker")))
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody asks for the ends of handlers
    print("ready", flush=True)
    while server in select.select([server, sys.stdin], [], [])[0]:
        connection, _ = server.accept()
        if os.fork() == 0:
            server.close()
            os._exit(handle(connection, Path(address).parent))
        connection.close()


def preload() -> None:
    """Import what commands use, and bundle the script of a report's charts."""
    bundle = subprocess.Popen([sys.executable, "-c", BUNDLE], stdout=subprocess.PIPE, text=True)
    for module in HEAVY:
        importlib.import_module(module)
    for package in PACKAGES:
        path = importlib.import_module(package).__path__
        for module in pkgutil.walk_packages(path, f"{package}.", onerror=lambda _: None):
            with suppress(ImportError):  # an extra that is not installed
                importlib.import_module(module.name)
    # made by another process: the bundler's threads would be missing in forks of this one
    text = bundle.communicate()[0]
    with patch("vl_convert.javascript_bundle", lambda _: text):
        sys.modules["bmc.report.page"]._runtime()
    importlib.import_module("quick")


def handle(connection: socket.socket, folder: Path) -> int:
    """Run one command in a fork, and send its exit code; a file says where it runs meanwhile."""
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
    client = int.from_bytes(
        connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 4), sys.byteorder
    )
    (place := folder / f"{client}-{child}.pid").touch()
    ended = os.pidfd_open(child)
    while ended not in select.select([connection, ended], [], [])[0]:
        number = connection.recv(1)  # a signal to pass on; nothing: the client was killed
        os.kill(child, number[0] if number else signal.SIGKILL)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    place.unlink(missing_ok=True)
    with suppress(BrokenPipeError):
        connection.sendall(str(code if code >= 0 else 128 - code).encode())
    return 0


def run(program: str, argv: list[str], cwd: str, env: dict[str, str]) -> None:
    """Become the command: as if it had been started there with these arguments."""
    os.chdir(cwd)
    os.environ.clear()
    os.environ.update(env)
    folders = env.get("PYTHONPATH", "").split(os.pathsep)
    sys.path[:0] = [folder for folder in folders if folder and folder not in sys.path]
    util.spawnv_passfds = warm_fork_server()
    if encoding := env.get("PYTHONIOENCODING"):
        sys.stdout, sys.stderr = (
            printer(1, encoding, "strict"),
            printer(2, encoding, "backslashreplace"),
        )
    code: object = 0
    try:
        if PROGRAMS[program]:
            sys.argv = [program, *argv]
            sys.modules[PROGRAMS[program]].main()
        elif program == "ray-worker":
            python([text for text in argv if not text.startswith(OF_SETUP)])
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


def printer(descriptor: int, encoding: str, errors: str) -> io.TextIOWrapper:
    """Return a stream as the interpreter opens it for an encoding that is asked for."""
    raw = io.FileIO(descriptor, "w", closefd=False)
    return io.TextIOWrapper(
        io.BufferedWriter(raw), encoding, errors, line_buffering=descriptor == 2
    )


def warm_fork_server() -> Callable[..., int]:
    """Fork a child that can become the fork server of multiprocessing; return what starts it.

    It is forked before the command opens files or starts threads, and ends with it.
    """
    cold = util.spawnv_passfds
    ours, theirs = socket.socketpair()
    child = os.fork()
    if child == 0:
        ours.close()
        become_fork_server(theirs)
    theirs.close()

    def start(path: str, arguments: list[str], descriptors: list[int]) -> int:
        if ours.fileno() < 0 or "forkserver" not in arguments[-1]:
            return cold(path, arguments, descriptors)
        asked = {"code": arguments[-1], "descriptors": descriptors, "env": dict(os.environ)}
        socket.send_fds(ours, [json.dumps(asked).encode()], descriptors)
        ours.close()
        return child

    return start


def become_fork_server(asking: socket.socket) -> None:
    """Wait for what the fork server is started with, and do as it does."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    message, received, _, _ = socket.recv_fds(asking, 1 << 20, 16)
    if not message:
        os._exit(0)
    asked = json.loads(message)
    os.environ.clear()
    os.environ.update(asked["env"])
    above = max(asked["descriptors"]) + 1
    copies = [fcntl.fcntl(descriptor, fcntl.F_DUPFD, above) for descriptor in received]
    for copy, descriptor in zip(copies, asked["descriptors"], strict=True):
        os.dup2(copy, descriptor)
    for descriptor in {*copies, *received, asking.detach()} - {*asked["descriptors"]}:
        os.close(descriptor)
    try:
        exec(asked["code"], {"__name__": "__main__"})
    finally:
        os._exit(0)


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
