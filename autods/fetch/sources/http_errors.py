"""What went wrong below http: names, connections, certificates, redirects, in plain words."""

from __future__ import annotations

import socket
import ssl

from autods.core.network import certificates_named, proxies, proxy_for, proxy_step, untrusted
from autods.errors import CredentialsMissing, Unreachable
from autods.fetch.sources.base import Interrupted, MirrorFailed, shown

AGAIN = "then run the same command again."


def check_environment() -> None:
    """Raise `MirrorFailed` for a proxy whose user name or password cannot be written so."""
    for proxy in proxies().values():
        if proxy.fault:
            raise MirrorFailed(
                f"{proxy} cannot be used: {proxy.fault}",
                next_step=f"Correct {proxy.variable}, {AGAIN}",
            )


def unusable(error: Exception) -> MirrorFailed:
    """Tell which variable of the environment keeps httpx from beginning at all."""
    if isinstance(error, OSError):
        variable, path = certificates_named() or ("SSL_CERT_FILE", "nothing")
        return MirrorFailed(
            f"the certificates that {variable} names ({path}) cannot be read: "
            f"{error.strerror or error}",
            next_step=f"Correct {variable} or unset it, {AGAIN}",
        )
    why = "SOCKS needs the package socksio" if isinstance(error, ImportError) else str(error)
    return MirrorFailed(
        f"the proxy that the environment names cannot be used: {shown(why)}",
        next_step="Correct HTTP_PROXY, HTTPS_PROXY and ALL_PROXY (for socks5://: pip install "
        f"socksio), {AGAIN}",
    )


def explained(error: Exception) -> Interrupted | MirrorFailed:
    """Turn an httpx error into a cause; `Interrupted` where the same request may succeed."""
    import httpx

    if isinstance(error, httpx.TooManyRedirects):
        return MirrorFailed(
            f"redirects in a circle, at last to {error.request.url.host}",
            next_step="The host is misconfigured: try again another day, or add a --mirror.",
        )
    if isinstance(error, httpx.ConnectTimeout):
        return _unconnected(error, "the host does not answer")
    if isinstance(error, httpx.ConnectError):
        return _unconnected(error, str(error))
    if isinstance(error, httpx.TimeoutException | httpx.NetworkError | httpx.RemoteProtocolError):
        return Interrupted(f"the connection was dropped: {error}".rstrip(": "))
    if isinstance(error, httpx.ProxyError):
        return proxy_refused(_asked(error), shown(str(error)))
    return MirrorFailed(f"cannot be fetched: {error}")


def proxy_refused(url: str, answer: str) -> MirrorFailed:
    """Return the cause where a proxy answers in place of the host that was asked."""
    proxy = proxy_for(url)
    named = str(proxy or "the proxy")
    step = proxy_step(proxy) if proxy else ""
    if answer.startswith("407"):
        variable = proxy.variable if proxy else "HTTPS_PROXY"
        return MirrorFailed(
            f"{named} wants another login: {answer}",
            CredentialsMissing,
            f"Put the user name and the password of the proxy into {variable} as "
            f"http://USER:PASSWORD@HOST:PORT (a sign such as '@' or '#' as %40, %23), {AGAIN}",
        )
    return MirrorFailed(f"no connection through {named}: {answer}", Unreachable, step)


def _asked(error: Exception) -> str:
    """Return the address of the request that failed, without its secrets; ``""``: unknown."""
    try:
        request = getattr(error, "request", None)
    except RuntimeError:  # httpx did not set it
        return ""
    return f"{request.url.scheme}://{request.url.host}" if request else ""


def _unconnected(error: Exception, why: str) -> MirrorFailed:
    reasons: list[BaseException] = [error]
    while cause := reasons[-1].__cause__ or reasons[-1].__context__:
        reasons.append(cause)
    asked = _asked(error)
    proxy = proxy_for(asked)
    for reason in reversed(reasons):
        if isinstance(reason, ssl.SSLError):
            text, step = untrusted(reason, asked.partition("://")[2] or "the host")
            through = f" (through {proxy})" if proxy else ""
            return MirrorFailed(f"no trusted TLS connection: {text}{through}", next_step=step)
    if any(isinstance(reason, socket.gaierror) for reason in reasons):
        why = "its host is unknown" if proxy else "the host is unknown"
    if proxy:  # whoever could not be reached, it was not the mirror
        text = f"no connection to {proxy}: {why}; the mirror was not asked"
        return MirrorFailed(text, Unreachable, proxy_step(proxy))
    return MirrorFailed(why if why.endswith("unknown") else f"no connection: {why}", Unreachable)
