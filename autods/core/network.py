"""The proxy and the certificates that the environment names, for all that asks the network."""

from __future__ import annotations

import os
import ssl
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

# In the order in which they count; each library reads some of them only.
CERTIFICATES = ("SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")
ENCODED = {"#": "%23", "?": "%3F", "/": "%2F", "@": "%40", " ": "%20", "\\": "%5C"}
SYSTEM = "the system's settings"
UNKNOWN_SIGNER = (18, 19, 20, 21)  # of OpenSSL: self-signed, or no issuer that is known
WRONG_TIME = (9, 10)  # not yet valid, expired


@dataclass(frozen=True)
class Proxy:
    """A proxy: ``variable`` names it; ``address`` is without its user and password.

    ``fault`` says why it cannot be used as it is written, ``""`` if nothing is known.
    """

    variable: str
    address: str
    fault: str = ""

    def __str__(self) -> str:
        return f"the proxy {self.address} of {self.variable}"


def proxies() -> dict[str, Proxy]:
    """Return the proxy of each scheme (``http``, ``https``, ``all``) that has one."""
    named = urllib.request.getproxies()
    return {
        scheme: _read(scheme, named[scheme])
        for scheme in ("http", "https", "all")
        if named.get(scheme)
    }


def proxy_for(url: str) -> Proxy | None:
    """Return the proxy that requests for ``url`` go through, ``None`` if none."""
    split = urlsplit(url)
    known = proxies()
    found = known.get(split.scheme.lower()) or known.get("all")
    if found is None or urllib.request.proxy_bypass(split.hostname or ""):
        return None
    return found


def proxy_step(proxy: Proxy) -> str:
    """Return what to do about a proxy that does not work."""
    where = proxy.variable
    return (
        f"Correct or unset {where}; hosts that need no proxy go into NO_PROXY, with commas "
        "between. Then run the same command again."
    )


def _read(scheme: str, value: str) -> Proxy:
    names = (f"{scheme}_proxy", f"{scheme.upper()}_PROXY")
    variable = next((name for name in names if os.environ.get(name) == value), SYSTEM)
    kind, separator, rest = value.rpartition("://") if "://" in value else ("http", "://", value)
    user, at, host = rest.rpartition("@")
    wrong = [sign for sign in ENCODED if sign in user]
    fault = ""
    if at and wrong:
        written = " and ".join(f"'{sign}' as {ENCODED[sign]}" for sign in wrong)
        fault = f"in its user name and password, write {written}"
    elif "://" in kind:  # a second one, in the password
        kind, fault = kind.partition("://")[0], "in its user name and password, write '/' as %2F"
    return Proxy(variable, f"{kind}{separator}{host.rstrip('/')}", fault)


def certificates_named() -> tuple[str, Path] | None:
    """Return the variable that names trusted certificates, and the file or folder."""
    for variable in CERTIFICATES:
        if value := os.environ.get(variable):
            return variable, Path(value)
    return None


def trusted() -> ssl.SSLContext:
    """Return what TLS connections trust: the certificates that are named, else certifi's.

    `OSError` if they cannot be read.
    """
    named = certificates_named()
    if named is None:
        import certifi

        return ssl.create_default_context(cafile=certifi.where())
    if named[1].is_dir():
        return ssl.create_default_context(capath=str(named[1]))
    return ssl.create_default_context(cafile=str(named[1]))


def share_certificates() -> None:
    """Let every library of this process trust what is named for one of them.

    httpx reads ``SSL_CERT_FILE``, requests ``REQUESTS_CA_BUNDLE``, git ``GIT_SSL_CAINFO``.
    """
    named = certificates_named()
    if named is not None and named[1].is_file():
        for variable in ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "GIT_SSL_CAINFO"):
            os.environ.setdefault(variable, str(named[1]))


def untrusted(error: BaseException, host: str) -> tuple[str, str]:
    """Return why no TLS connection to ``host`` is trusted, and what to do."""
    code = getattr(error, "verify_code", None)
    why = getattr(error, "verify_message", "") or str(error)
    if code in WRONG_TIME:
        return (
            f"the certificate of {host} is not valid today: {why}",
            "Check the clock ('autods doctor'); if it is right, the host has to renew its "
            "certificate: add a --mirror.",
        )
    if code in UNKNOWN_SIGNER:
        return f"the certificate of {host} has no signer that is trusted here: {why}", ca_step()
    return (
        f"{host}: {why}",
        "Check the clock ('autods doctor') and whether a proxy stands between; else the host's "
        "certificate is bad: add a --mirror.",
    )


def ca_step() -> str:
    """Return what to do if nobody who is trusted signed a certificate."""
    named = certificates_named()
    now = f"now {named[0]} names {named[1]}" if named else "now neither is set"
    return (
        "If a proxy of your company signs anew what passes through it, name a PEM file with its "
        f"certificate authority in SSL_CERT_FILE or REQUESTS_CA_BUNDLE ({now}); else the host's "
        "certificate is bad: add a --mirror."
    )
