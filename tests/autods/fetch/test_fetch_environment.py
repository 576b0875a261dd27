"""Proxies and certificates of the environment: they work, and what fails is not the mirror."""

import hashlib
import re
import shutil
import socket
import ssl
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from servers.web import Handler, Server, running

from autods.core.network import proxies
from autods.core.progress import Silent
from autods.errors import CredentialsMissing, FetchError, Unreachable
from autods.fetch import fetch_dataset
from autods.manifest.schema import FileEntry, Manifest, Mirror

CONTENT = hashlib.shake_128(b"content").digest(3_000)
CHECKSUM = "sha256:" + hashlib.sha256(CONTENT).hexdigest()
NAMES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY")
CERTIFICATES = ("SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")
needs_openssl = pytest.mark.skipif(shutil.which("openssl") is None, reason="signs with openssl")


@pytest.fixture(autouse=True)
def plain(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (*NAMES, *map(str.lower, NAMES), *CERTIFICATES):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def server() -> Iterator[Server]:
    with running(Server()) as here:
        here.files["/a.bin"] = CONTENT
        yield here


def toy(url: str, kind: str = "http", checksum: str = CHECKSUM) -> Manifest:
    mirror = Mirror.model_validate({"kind": kind, "url": url})
    entry = FileEntry(name="a.bin", checksum=checksum, mirrors=[mirror])
    return Manifest.model_construct(name="toy", files=[entry])


def dead_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


@pytest.mark.parametrize("name", ["HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"])
@pytest.mark.parametrize("login", ["", "ann:secret@", "ann:sec%23ret%40@", "ann@"])
@pytest.mark.parametrize("form", ["http://{}", "{}", "http://{}/"])
def test_a_dead_proxy_is_named_and_the_mirror_is_not_blamed(
    root, server, monkeypatch, name, login, form
):
    port = dead_port()
    monkeypatch.setenv(name, form.format(f"{login}127.0.0.1:{port}"))
    with pytest.raises(Unreachable) as caught:
        fetch_dataset(toy(server.url()), root, Silent())
    told = str(caught.value)
    assert f"no connection to the proxy http://127.0.0.1:{port} of {name}" in told
    assert "the mirror was not asked" in told
    assert f"unset {name}" in told and "NO_PROXY" in told
    assert not re.search("ann|sec|ret", told)


def test_a_proxy_of_an_unknown_host_is_named(root, server, monkeypatch):
    monkeypatch.setenv("HTTP_PROXY", "http://ann:secret@proxy.invalid:3128")
    with pytest.raises(Unreachable, match=r"proxy http://proxy\.invalid:3128 .*host is unknown"):
        fetch_dataset(toy(server.url()), root, Silent())


@pytest.mark.parametrize("name", ["HTTP_PROXY", "HTTPS_PROXY", "all_proxy"])
@pytest.mark.parametrize(
    ("login", "cure"),
    [
        ("us#er:pass", "'#' as %23"),
        ("user:p@ss", "'@' as %40"),
        ("us#er:p@ss", "'#' as %23 and '@' as %40"),
        ("user:pa/ss", "'/' as %2F"),
        ("user:pa?ss", "'?' as %3F"),
        ("user:pa ss", "' ' as %20"),
        ("user:p://ss", "'/' as %2F"),
        ("dom\\user:ss", "'\\' as %5C"),
    ],
)
def test_a_sign_in_a_password_that_has_to_be_encoded_is_told(
    root, server, monkeypatch, name, login, cure
):
    monkeypatch.setenv(name, f"http://{login}@127.0.0.1:{dead_port()}")
    with pytest.raises(FetchError) as caught:
        fetch_dataset(toy(server.url()), root, Silent())
    told = str(caught.value)
    assert f"of {name} cannot be used" in told and cure in told and f"Correct {name}" in told
    assert login not in told and "ss@" not in told
    assert server.log == []


@pytest.mark.parametrize("excepted", ["127.0.0.1", "localhost,127.0.0.1", "*"])
def test_a_host_without_a_proxy_is_asked_itself(root, server, monkeypatch, excepted):
    monkeypatch.setenv("HTTP_PROXY", f"http://127.0.0.1:{dead_port()}")
    monkeypatch.setenv("NO_PROXY", excepted)
    fetch_dataset(toy(server.url()), root, Silent())
    assert root.archive("toy", "a.bin").read_bytes() == CONTENT


class Refusing(Server):
    """A proxy that lets nothing through."""

    status = 407

    def answer(self, request: Handler) -> None:
        request.reply(self.status)


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_a_proxy_that_wants_a_login_says_so(root, monkeypatch, scheme):
    with running(Refusing()) as proxy:
        monkeypatch.setenv(
            f"{scheme.upper()}_PROXY", f"http://ann:secret@127.0.0.1:{proxy.server_port}"
        )
        with pytest.raises(CredentialsMissing, match="wants another login: 407") as caught:
            fetch_dataset(toy(f"{scheme}://data.invalid/a.bin"), root, Silent())
    assert f"into {scheme.upper()}_PROXY" in str(caught.value)
    assert "secret" not in str(caught.value)


def test_a_proxy_that_lets_nothing_through_is_named(root, monkeypatch):
    with running(Refusing()) as proxy:
        proxy.status = 502
        monkeypatch.setenv("HTTPS_PROXY", f"http://127.0.0.1:{proxy.server_port}")
        with pytest.raises(Unreachable, match=r"no connection through the proxy http://127.*: 502"):
            fetch_dataset(toy("https://data.invalid/a.bin"), root, Silent())


def test_a_proxy_is_shown_without_its_login(monkeypatch):
    monkeypatch.setenv("HTTPS_PROXY", "http://ann:secret@proxy:3128/")
    assert str(proxies()["https"]) == "the proxy http://proxy:3128 of HTTPS_PROXY"


@pytest.mark.skipif(shutil.which("git") is None, reason="fetches by git")
def test_git_names_the_proxy_too(root, monkeypatch):
    monkeypatch.setenv("HTTP_PROXY", f"http://ann:secret@127.0.0.1:{dead_port()}")
    monkeypatch.setenv("http_proxy", f"http://ann:secret@127.0.0.1:{dead_port()}")
    manifest = toy("http://data.invalid/repository", "git", "git:" + "0" * 40)
    with pytest.raises(Unreachable, match=r"asked through the proxy http://127\.0\.0\.1") as caught:
        fetch_dataset(manifest, root, Silent())
    assert "secret" not in str(caught.value)


@pytest.fixture(scope="module")
def company(tmp_path_factory) -> Path:
    """A folder with a certificate authority (ca.pem) and what it signed for localhost."""
    folder = tmp_path_factory.mktemp("company")

    def openssl(*arguments: str) -> None:
        subprocess.run(["openssl", *arguments], cwd=folder, check=True, capture_output=True)

    new = ("req", "-newkey", "rsa:2048", "-nodes", "-subj")
    openssl(*new, "/CN=Company", "-x509", "-days", "2", "-keyout", "ca.key", "-out", "ca.pem")
    openssl(*new, "/CN=Other", "-x509", "-days", "2", "-keyout", "other.key", "-out", "other.pem")
    openssl(*new, "/CN=localhost", "-keyout", "key.pem", "-out", "asked.pem")
    (folder / "names").write_text("subjectAltName=DNS:localhost,IP:127.0.0.1\n")
    sign = ("x509", "-req", "-in", "asked.pem", "-CA", "ca.pem", "-CAkey", "ca.key", "-days", "2")
    openssl(*sign, "-CAcreateserial", "-extfile", "names", "-out", "signed.pem")
    (folder / "hashed").mkdir()
    shutil.copy(folder / "ca.pem", folder / "hashed")
    openssl("rehash", "hashed")
    return folder


@pytest.fixture
def secure(server, company) -> str:
    """The address of the file by https, with a certificate of the company."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(company / "signed.pem", company / "key.pem")
    server.socket = context.wrap_socket(server.socket, server_side=True)
    return server.url().replace("http://127.0.0.1", "https://localhost")


@needs_openssl
@pytest.mark.parametrize("name", CERTIFICATES)
def test_a_companys_authority_is_trusted_where_the_environment_names_it(
    root, secure, company, monkeypatch, name
):
    monkeypatch.setenv(name, str(company / ("hashed" if name == "SSL_CERT_DIR" else "ca.pem")))
    fetch_dataset(toy(secure), root, Silent())
    assert root.archive("toy", "a.bin").read_bytes() == CONTENT


@needs_openssl
def test_an_authority_that_nobody_named_is_told_with_both_variables(root, secure):
    with pytest.raises(FetchError, match="localhost has no signer that is trusted") as caught:
        fetch_dataset(toy(secure), root, Silent())
    assert "SSL_CERT_FILE or REQUESTS_CA_BUNDLE (now neither is set)" in str(caught.value)


@needs_openssl
@pytest.mark.parametrize("name", ["SSL_CERT_FILE", "REQUESTS_CA_BUNDLE"])
def test_the_file_of_another_authority_is_named(root, secure, company, monkeypatch, name):
    monkeypatch.setenv(name, str(company / "other.pem"))
    with pytest.raises(FetchError) as caught:
        fetch_dataset(toy(secure), root, Silent())
    assert f"now {name} names {company / 'other.pem'}" in str(caught.value)


@needs_openssl
@pytest.mark.parametrize("name", ["SSL_CERT_FILE", "REQUESTS_CA_BUNDLE"])
@pytest.mark.parametrize("content", [None, "", "no certificate"])
def test_a_file_without_certificates_is_named(root, secure, tmp_path, monkeypatch, name, content):
    if content is not None:
        (tmp_path / "ca.pem").write_text(content)
    monkeypatch.setenv(name, str(tmp_path / "ca.pem"))
    with pytest.raises(FetchError, match=f"the certificates that {name} names .*cannot be read"):
        fetch_dataset(toy(secure), root, Silent())


@needs_openssl
@pytest.mark.parametrize("name", ["SSL_CERT_FILE", "REQUESTS_CA_BUNDLE"])
def test_on_the_command_line_one_variable_serves_every_library(secure, company, monkeypatch, name):
    pytest.importorskip("requests")
    code = (
        "from autods.core.network import share_certificates; share_certificates(); "
        "import httpx, requests; "
        f"print(httpx.get('{secure}').status_code, requests.get('{secure}').status_code)"
    )
    monkeypatch.setenv(name, str(company / "ca.pem"))
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout == "200 200\n", done.stderr
