"""Check the hosts of mirrors, and the clock against theirs. Nothing is downloaded."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from autods.checks.finding import Check
from autods.core.credentials import HUB

if TYPE_CHECKING:
    from autods.manifest.schema import Manifest, Mirror

SECONDS = 5.0  # a host that is silent for so long cannot be reached
AT_ONCE = 16  # hosts asked at the same time
SKEW = 300.0  # seconds; signed addresses and certificates fail on clocks that differ more
PORTS = {"http": 80, "https": 443, "ftp": 21, "ssh": 22, "git": 9418}


@dataclass
class Host:
    """A host of one or more datasets."""

    address: str  # scheme://host[:port]
    datasets: list[str] = field(default_factory=list)
    only: list[str] = field(default_factory=list)  # those with a file that has no mirror elsewhere


@dataclass(frozen=True)
class Answer:
    """A host's answer, or why there was none; ``ahead``: seconds that our clock is ahead of its."""

    reached: bool
    text: str
    ahead: float | None = None


def check_network(manifests: Sequence[Manifest]) -> Iterator[Check]:
    """Yield the findings: each host, then the clock; one on the network if no host answers."""
    hosts = hosts_of(manifests)
    with ThreadPoolExecutor(AT_ONCE) as pool:
        answers = list(pool.map(ask, (host.address for host in hosts)))
    silent = hosts and not any(answer.reached for answer in answers)
    if not silent or len(hosts) == 1:
        for host, answer in zip(hosts, answers, strict=True):
            yield _finding(host, answer)
    yield from _clock(answers)
    if silent:
        reasons = "; ".join(sorted({answer.text.rstrip(".") for answer in answers}))
        which = f"none of {len(hosts)} hosts" if len(hosts) > 1 else "no host"
        yield Check(
            "network",
            "fail",
            f"{which} can be reached: {reasons}",
            "Check the connection and the proxy (HTTPS_PROXY, HTTP_PROXY); without a network, "
            "fetch from a copy: autods fetch --mirror FOLDER.",
        )


def hosts_of(manifests: Sequence[Manifest]) -> list[Host]:
    """Return the hosts of all mirrors, those of most datasets first; local files have none."""
    hosts: dict[str, Host] = {}
    for manifest in manifests:
        by_file = [{address_of(mirror) for mirror in entry.mirrors} for entry in manifest.files]
        only = {address for addresses in by_file if len(addresses) == 1 for address in addresses}
        for address in set[str | None]().union(*by_file):
            if address is None:
                continue
            host = hosts.setdefault(address, Host(address))
            host.datasets.append(manifest.name)
            if address in only:
                host.only.append(manifest.name)
    return sorted(hosts.values(), key=lambda host: (-len(host.datasets), host.address))


def address_of(mirror: Mirror) -> str | None:
    """Return ``scheme://host[:port]`` of a mirror; ``None`` if it is local."""
    from autods.fetch.sources import gdrive, kaggle

    sites = {
        "gdrive": os.environ.get("AUTODS_GDRIVE_URL", gdrive.HOST),
        "kaggle": os.environ.get("KAGGLE_API_ENDPOINT", kaggle.SITE),
        "kaggle-competition": os.environ.get("KAGGLE_API_ENDPOINT", kaggle.SITE),
        "huggingface": os.environ.get("HF_ENDPOINT", HUB),
    }
    url = sites.get(mirror.kind, mirror.url)
    if mirror.kind == "file":
        return None
    if "://" not in url:  # git: user@host:path, or a folder
        machine, colon, _ = url.partition(":")
        return f"ssh://{machine.rpartition('@')[2]}" if colon and "/" not in machine else None
    try:
        split = urlsplit(url)
    except ValueError:
        return url  # `ask` tells what is wrong
    return f"{split.scheme.lower()}://{split.netloc.rpartition('@')[2]}" if split.hostname else None


def ask(address: str) -> Answer:
    """Probe one host: HEAD by http, a connection by anything else."""
    began = time.monotonic()
    try:
        split = urlsplit(address)
    except ValueError as error:
        return Answer(False, f"no usable address: {error}")
    if split.scheme in ("http", "https"):
        return _head(address, began)
    try:
        port = split.port or PORTS[split.scheme]
        socket.create_connection((split.hostname or "", port), SECONDS).close()
    except TimeoutError:
        return Answer(False, f"no answer within {SECONDS:g} s")
    except socket.gaierror:
        return Answer(False, "the host is unknown")
    except (OSError, KeyError, ValueError) as error:
        return Answer(False, f"no connection: {getattr(error, 'strerror', None) or error}")
    return Answer(True, f"connected in {time.monotonic() - began:.1f} s")


def _head(address: str, began: float) -> Answer:
    import httpx

    from autods.fetch.sources.base import MirrorFailed
    from autods.fetch.sources.http import HEADERS, open_client
    from autods.fetch.sources.http_errors import explained
    from autods.fetch.sources.limits import Deadline

    deadline = Deadline(SECONDS)
    followed = {"trace": deadline.trace}
    try:
        with open_client(HEADERS) as client:
            client.timeout, client.follow_redirects = httpx.Timeout(SECONDS), False
            answer = client.head(f"{address}/", extensions=followed)
    except (httpx.HTTPError, httpx.InvalidURL, UnicodeError) as error:
        if deadline.passed or isinstance(error, httpx.ReadTimeout):
            return Answer(False, f"no answer within {SECONDS:g} s")
        return Answer(False, str(explained(error)))
    except MirrorFailed as error:  # the environment names what cannot be used
        return Answer(False, f"{error}. {error.next_step}".removesuffix(". "))
    finally:
        deadline.stop()
    text = f"HTTP {answer.status_code} in {time.monotonic() - began:.1f} s"
    try:
        ahead = time.time() - parsedate_to_datetime(answer.headers["Date"]).timestamp()
    except (KeyError, ValueError, OverflowError):
        return Answer(True, text)
    return Answer(True, text, ahead)


def _finding(host: Host, answer: Answer) -> Check:
    count = len(host.datasets)
    needed = f"{count} dataset{'s' if count > 1 else ''}"
    if host.only:
        needed += f", {len(host.only)} only there" if len(host.only) < count else ", only there"
    scheme, _, name = host.address.partition("://")
    name += "" if scheme == "https" else f" ({scheme})"
    if answer.reached:
        return Check(name, "ok", f"{answer.text}; {needed}")
    cure = "Try again later, or give a place of your own: autods fetch --mirror URL_OR_FOLDER."
    return Check(name, "warn", f"{answer.text}; {needed}", cure)


def _clock(answers: Sequence[Answer]) -> Iterator[Check]:
    """Yield the finding about the clock; one host's clock may be wrong, not all of them."""
    known = [answer.ahead for answer in answers if answer.ahead is not None]
    if not known:
        return
    ahead = min(known, key=abs)
    if abs(ahead) <= SKEW:
        yield Check("clock", "ok", f"within {max(1, round(abs(ahead)))} s of a host's")
        return
    direction = "ahead of" if ahead > 0 else "behind"
    yield Check(
        "clock",
        "warn",
        f"{abs(ahead) / 60:.0f} minutes {direction} the nearest host's: signed addresses and "
        "certificates will be refused",
        "Set the clock, for example by 'timedatectl set-ntp true'.",
    )
