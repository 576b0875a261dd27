"""Both packages on a system without the modules and functions that only POSIX has."""

import subprocess
from pathlib import Path

import pytest
from warm import program

MODULES = (
    "resource",
    "fcntl",
    "pwd",
    "grp",
    "termios",
    "tty",
    "syslog",
    "posixshmem",
    "_posixshmem",
)
FUNCTIONS = {
    "os": (
        "O_CLOEXEC", "O_NOFOLLOW", "fork", "forkpty", "getuid", "geteuid", "getgid", "getloadavg",
        "killpg", "memfd_create", "mkfifo", "nice", "pread", "preadv", "pwrite", "register_at_fork",
        "sched_getaffinity", "setsid", "sync", "sysconf", "uname", "wait4",
    ),
    "signal": ("pthread_kill", "pthread_sigmask", "SIGHUP", "SIGUSR1", "SIGUSR2", "alarm"),
    "socket": ("send_fds", "recv_fds", "AF_UNIX"),
    "multiprocessing.reduction": ("DupFd",),
    "multiprocessing.context": ("ForkServerContext", "ForkContext"),
}  # fmt: skip
# Libraries are loaded whole before: on such a system they have other builds.
LIBRARIES = (
    "torch", "torch.utils.data", "pandas", "pyarrow.parquet", "h5py", "scipy.stats", "filelock",
    "sklearn.datasets", "httpx", "huggingface_hub", "rich.progress", "rich.console", "typer",
    "typer.testing", "safetensors.torch", "altair", "jinja2", "timm", "open_clip", "PIL.Image",
    "platformdirs", "certifi", "concurrent.futures.process", "multiprocessing.forkserver",
    "vl_convert", "getpass", "yaml",
)  # fmt: skip
HIDE = f"""
import importlib, sys
for name in [name for name in sys.modules if name.partition(".")[0] in ("autods", "bmc")]:
    del sys.modules[name]  # this process starts warm; both are imported again
for name in {LIBRARIES!r}:
    try:
        importlib.import_module(name)
    except ImportError:
        pass
import torch._dynamo  # asks for the user's name
for name in {MODULES!r}:
    sys.modules[name] = None
for module, names in {FUNCTIONS!r}.items():
    for name in names:
        if hasattr(importlib.import_module(module), name):
            delattr(sys.modules[module], name)
import os
os.supports_dir_fd = set()
"""
EVERY_MODULE = """
import pkgutil, autods, bmc
for package in (autods, bmc):
    for found in pkgutil.walk_packages(package.__path__, package.__name__ + "."):
        if not found.name.endswith("limited_child"):
            importlib.import_module(found.name)
print("imported", len([name for name in sys.modules if name.startswith(("autods.", "bmc."))]))
"""
COMMAND = """
def run(program, *arguments):
    from importlib import import_module
    sys.argv = [program, *arguments]
    try:
        import_module({"autods": "autods.cli.app", "bmc-stream": "bmc.cli.app"}[program]).main()
    except SystemExit as done:
        if done.code:
            raise
"""
LEARN = """
run("bmc-stream", "run", "--scenario", "class-il", "--stream", "synthetic", "--max-tasks", "4",
    "--epochs", "1", "--scale", "0.02", "--method", "bmc,er,slda", "-o", "bmc.experts=2",
    "--out", "runs")
run("bmc-stream", "runs", "runs")
run("bmc-stream", "report", "runs")
"""
IMAGES = """
run("autods", "new", "pictures", "--folder", "pictures", "--out", "m")
run("autods", "fetch", "pictures", "--manifests", "m", "--root", "root")
run("autods", "index", "pictures", "--manifests", "m", "--root", "root")
run("autods", "extract", "pictures", "--manifests", "m", "--root", "root", "--model",
    "timm:test_efficientnet", "--random-weights", "0")
run("autods", "verify", "--manifests", "m", "--root", "root")
run("autods", "audit", "--manifests", "m", "--root", "root")
run("autods", "doctor", "--offline", "--manifests", "m", "--root", "root", "pictures")
run("bmc-stream", "run", "--scenario", "class-il", "--stream", "pictures", "--root", "root",
    "--encoder", "timm-test_efficientnet.r160_in1k.random-0", "--method", "bmc,ncm",
    "--out", "runs")
"""


def without_posix(code: str, folder: Path) -> str:
    done = subprocess.run(
        [program("python"), "-c", HIDE + COMMAND + code],
        cwd=folder, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    assert "Traceback" not in done.stderr
    return done.stdout


def test_every_module_is_imported_without_what_only_posix_has(tmp_path):
    assert int(without_posix(EVERY_MODULE, tmp_path).split()[-1]) > 300


def test_a_stream_is_learned_without_what_only_posix_has(tmp_path):
    told = without_posix(LEARN, tmp_path)
    assert "BMC" in told and (tmp_path / "runs" / "report.html").is_file()


def test_images_become_results_without_what_only_posix_has(tmp_path):
    pytest.importorskip("timm")
    np, image = pytest.importorskip("numpy"), pytest.importorskip("PIL.Image")
    generator = np.random.default_rng(0)
    for name in ("ant", "bee", "cat"):
        (tmp_path / "pictures" / name).mkdir(parents=True)
        for number in range(8):
            pixels = generator.integers(0, 256, (24, 24, 3), dtype=np.uint8)
            image.fromarray(pixels).save(tmp_path / "pictures" / name / f"{number}.png")
    told = without_posix(IMAGES, tmp_path)
    assert "No problem found" in told and "BMC" in told
