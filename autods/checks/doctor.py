"""Check what fetching, indexing and extracting need on this machine, and suggest cures."""

from __future__ import annotations

import platform
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from autods.checks.doctor_network import check_network
from autods.checks.doctor_root import check_root, check_temporary
from autods.checks.finding import Check
from autods.core.console import wrapped
from autods.core.credentials import Credentials, hub_credentials
from autods.core.output import counted
from autods.errors import AutodsError

if TYPE_CHECKING:
    from autods.core.root import DataRoot
    from autods.manifest.catalogue import Catalogue
    from autods.manifest.schema import Manifest

PACKAGES = ("h5py", "pyarrow", "pillow", "httpx", "huggingface_hub")
INSTALL = "pip install autods-bmc installs everything again that it needs."
NAMED = 6  # datasets named in a line
UNUSED = "no dataset asks for it"
LABEL = 28  # columns of the names on the left


def examine(
    catalogue: Catalogue, root: DataRoot, names: Sequence[str] = (), *, offline: bool = False
) -> list[Check]:
    """Run every check; the only change is a file that is written and removed.

    Without ``names``, all datasets with a manifest are looked at; ``offline`` leaves hosts and
    clock out.
    """
    manifests, checks = _load(catalogue, names)
    python = f"{platform.python_version()} at {sys.executable}"
    checks += [Check("python", "ok", python), _torch(), _packages()]
    checks += [*_tools(manifests), *_credentials(manifests)]
    checks += [check_temporary(), *check_root(root, manifests)]
    if not offline:
        checks += check_network(manifests)
    return checks


def show(checks: Sequence[Check], width: int) -> str:
    """Return the findings as lines of at most ``width`` columns (where words allow it).

    A cure shared by consecutive findings is printed below the last of them.
    """
    label = min(max((len(check.check) for check in checks), default=0), LABEL)
    indent = " " * (label + 8)
    lines = []
    for check, following in zip(checks, [*checks[1:], None], strict=True):
        head = f"{check.state:4}  {check.check:{label}}  "
        if len(head) > len(indent):  # a long name gets its own line
            lines.append(head.rstrip())
            head = indent
        lines += wrapped(head, check.text, width)
        if following is None or following.cure != check.cure:
            lines += wrapped(f"{indent}-> ", check.cure, width)
    return "\n".join(lines)


def count_names(names: Sequence[str]) -> str:
    """Return how many datasets these are, with the first names."""
    more = ", ..." if len(names) > NAMED else ""
    return counted(len(names), "dataset") + (
        f" ({', '.join(names[:NAMED])}{more})" if names else ""
    )


def _load(catalogue: Catalogue, names: Sequence[str]) -> tuple[list[Manifest], list[Check]]:
    """Return the manifests that can be read, and the findings about all of them."""
    manifests, wrong = [], []
    for name in names or catalogue.datasets():
        try:
            manifests.append(catalogue.dataset(name))
        except AutodsError as error:
            wrong.append(Check("manifests", "fail", str(error), "Correct the file."))
    for name in () if names else catalogue.streams():
        try:
            for item in catalogue.stream(name).datasets:
                catalogue.path(item.dataset)
        except AutodsError as error:
            text = f"stream '{name}': {error}"
            wrong.append(Check("streams", "fail", text, "Correct the file."))
    one = len(manifests) == 1
    text = "1 dataset, its manifest" if one else f"{len(manifests)} datasets, all manifests"
    good = Check("manifests", "ok", f"{text} can be read")
    return manifests, wrong or [good]


def _torch() -> Check:
    if absent := [name for name in ("torch", "open_clip") if find_spec(name) is None]:
        text = f"not installed: {', '.join(absent)}; extraction needs it, fetch and index do not"
        return Check("torch", "warn", text, "pip install 'autods-bmc[extract]'")
    try:
        import torch
    except Exception as error:  # a broken installation raises errors of many classes
        return Check("torch", "fail", f"cannot be imported: {error}", INSTALL)
    if torch.cuda.is_available():
        name = torch.cuda.get_device_name(0)
        return Check("torch", "ok", f"{torch.__version__}, CUDA {torch.version.cuda}, {name}")
    if shutil.which("nvidia-smi"):
        return Check(
            "torch",
            "warn",
            f"{torch.__version__} cannot use the NVIDIA GPU of this machine: extraction will run "
            "on the CPU",
            "Install the build of torch for your CUDA version: https://pytorch.org/get-started",
        )
    return Check("torch", "ok", f"{torch.__version__}, no GPU: extraction runs on the CPU")


def _packages() -> Check:
    found, absent = [], []
    for name in PACKAGES:
        try:
            found.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            absent.append(name)
    if absent:
        return Check("packages", "fail", f"not installed: {', '.join(absent)}", INSTALL)
    return Check("packages", "ok", ", ".join(found))


def _tools(manifests: Sequence[Manifest]) -> Iterator[Check]:
    """Yield whether there is a tool for git and for each kind of archive that needs one."""
    from autods.containers.kinds import kind_by_name
    from autods.containers.system_tools import TOOLS

    files = [(manifest.name, entry) for manifest in manifests for entry in manifest.files]
    from_git = {name: None for name, entry in files if entry.checksum.startswith("git:")}
    git = shutil.which("git")
    cure = "Debian, Ubuntu: apt-get install git; conda: conda install git; macOS: brew install git"
    yield _tool("git", git, list(from_git), cure)
    for kind, tools in TOOLS.items():
        installed = [path for tool in tools if (path := tool.find())]
        tool_path = next((path for path in installed if _reads(kind, path)), None)
        first = tools[0]
        cure = (
            f"Debian, Ubuntu: apt-get install {first.debian}; conda: conda install -c conda-forge "
            f"{first.conda}; macOS: brew install {first.brew}"
        )
        if kind == "zip":  # which zips need it shows only when they are opened
            text = f"{tool_path} unpacks zips with deflate64" if tool_path else "none for deflate64"
            yield Check("zip", "ok" if tool_path else "warn", text, "" if tool_path else cure)
        else:
            needing = {
                name: None for name, entry in files if kind_by_name(entry.name).archive == kind
            }
            unfit = f"{installed[0]} cannot read {kind}" if installed else ""
            yield _tool(kind, tool_path, list(needing), cure, unfit)


def _reads(kind: str, executable: str) -> bool:
    """Tell whether a tool reads a kind of archive: Debian's 7-Zip is built without RAR."""
    if kind != "rar" or Path(executable).name == "bsdtar":
        return True
    try:
        listed = subprocess.run([executable, "i"], capture_output=True, check=False)
    except OSError:  # installed, but not for this machine
        return False
    return b"Rar5" in listed.stdout


def _tool(
    name: str, tool_path: str | None, needing: Sequence[str], cure: str, unfit: str = ""
) -> Check:
    needed = f"needed for {count_names(needing)}" if needing else "no dataset needs it"
    text = f"{tool_path or unfit or 'no tool is installed'}; {needed}"
    if needing and not tool_path:
        return Check(name, "warn", text, cure)
    return Check(name, "ok", text)


def _credentials(manifests: Sequence[Manifest]) -> Iterator[Check]:
    from autods.fetch.sources import kaggle
    from autods.fetch.sources.base import MirrorFailed

    needing = _only_from(manifests, ("kaggle", "kaggle-competition"))
    try:
        yield _token("Kaggle token", kaggle.credentials(), needing, kaggle.GET_TOKEN)
    except MirrorFailed as error:
        yield Check("Kaggle token", "warn" if needing else "ok", str(error), error.next_step)
    needing = _only_from(manifests, ("huggingface",))
    found = hub_credentials()
    if found is not None:
        yield _token("Hub token", found, needing, "")
    else:
        used = f"only gated repositories ask for it: {count_names(needing)} with no other source"
        yield Check("Hub token", "ok", f"none was found; {used if needing else UNUSED}")


def _token(name: str, found: Credentials | None, needing: Sequence[str], cure: str) -> Check:
    used = f"{count_names(needing)} with no other source" if needing else UNUSED
    if found is None:
        state: Literal["ok", "warn"] = "warn" if needing else "ok"
        return Check(name, state, f"none was found; {used}", cure if needing else "")
    if found.note:
        return Check(name, "warn", f"{found.source}; {used}", found.note)
    return Check(name, "ok", f"{found.source}; {used}")


def _only_from(manifests: Sequence[Manifest], kinds: Sequence[str]) -> list[str]:
    """Return the datasets with a file that has mirrors of these kinds only."""
    return [
        manifest.name
        for manifest in manifests
        if any(all(m.kind in kinds for m in entry.mirrors) for entry in manifest.files)
    ]
