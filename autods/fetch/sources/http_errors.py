"""What went wrong below http: names, connections, certificates, redirects, in plain words."""

from __future__ import annotations

import socket
import ssl

from autods.errors import Unreachable
from autods.fetch.sources.base import Interrupted, MirrorFailed, shown


def unusable(error: Exception) -> MirrorFailed:
    """Tell which variable of the environment keeps httpx from beginning at all."""
    if isinstance(error, OSError):
        return MirrorFailed(
            f"the certificates that SSL_CERT_FILE names cannot be read: {error.strerror or error}",
            next_step="Correct SSL_CERT_FILE or unset it, then run the same command again.",
        )
    why = "SOCKS needs the package socksio" if isinstance(error, ImportError) else str(error)
    return MirrorFailed(
        f"the proxy that the environment names cannot be used: {shown(why)}",
        next_step="Correct HTTP_PROXY, HTTPS_PROXY and ALL_PROXY (for socks5://: pip install "
        "socksio), then run the same command again.",
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
        return MirrorFailed("no connection: the host does not answer", Unreachable)
    if isinstance(error, httpx.ConnectError):
        return _unconnected(error)
    if isinstance(error, httpx.TimeoutException | httpx.NetworkError | httpx.RemoteProtocolError):
        return Interrupted(f"the connection was dropped: {error}".rstrip(": "))
    if isinstance(error, httpx.ProxyError):
        return MirrorFailed(f"no connection through the proxy: {error}", Unreachable)
    return MirrorFailed(f"cannot be fetched: {error}")


def _unconnected(error: Exception) -> MirrorFailed:
    reasons: list[BaseException] = [error]
    while cause := reasons[-1].__cause__ or reasons[-1].__context__:
        reasons.append(cause)
    if any(isinstance(reason, socket.gaierror) for reason in reasons):
        return MirrorFailed("the host is unknown", Unreachable)
    if any(isinstance(reason, ssl.SSLError) for reason in reasons):
        return MirrorFailed(
            f"no trusted TLS connection: {error}",
            next_step="Check the clock ('autods doctor') and whether a proxy stands between; "
            "else the host's certificate is bad: add a --mirror.",
        )
    return MirrorFailed(f"no connection: {error}", Unreachable)
