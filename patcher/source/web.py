"""Pages and files of a package index, asked for as pip is set up to: passwords, certificates, proxies."""

from __future__ import annotations

import base64
import contextlib
import netrc
import ssl
from pathlib import Path
from urllib.error import HTTPError, URLError
from urllib.parse import unquote, urlsplit, urlunsplit
from urllib.request import (
    HTTPRedirectHandler,
    HTTPSHandler,
    OpenerDirector,
    ProxyHandler,
    Request,
    build_opener,
)

from patcher import __version__
from patcher.base.errors import SourceError
from patcher.base.os_errors import reason, way_out
from patcher.source.pip_settings import PipSettings

MAX_PAGE = 64 << 20  # bytes of an index's page
MAX_FILE = 8 << 30
ONLINE = "check the network and its proxy: 'q8a8-patch doctor' tries what is needed"
_SAYS = {
    **dict.fromkeys((401, 403), "name a user in pip's index-url, or in ~/.netrc"),
    **dict.fromkeys(
        (404, 410), "check how the package and its version are spelled; 'pip config list' shows the index"
    ),
    407: "name the proxy's user and password: HTTPS_PROXY=http://USER:PASSWORD@HOST:PORT",
    429: "wait some minutes, then run the same command again",
}
_ACCEPT = "application/vnd.pypi.simple.v1+json, application/vnd.pypi.simple.v1+html;q=0.2, text/html;q=0.1"


def local_path(url: str) -> Path | None:
    """The path that a ``file:`` URL, or a text that is no URL, names."""
    parts = urlsplit(url)
    if parts.scheme == "file":
        return Path(unquote(parts.path))
    return None if parts.scheme in ("http", "https") else Path(url).expanduser().absolute()


def without_password(url: str) -> str:
    """``url`` as it may be shown."""
    parts = urlsplit(url)
    host = parts.netloc.rpartition("@")[2]
    return urlunsplit(parts._replace(netloc=host))


def read(url: str, settings: PipSettings) -> tuple[bytes, str, str]:
    """A page: its bytes, its content type, and where it was in the end."""
    path = local_path(url)
    if path is not None:
        try:
            data = path.read_bytes() if path.stat().st_size <= MAX_PAGE else b""
        except OSError as why:
            raise SourceError(f"{path}: can't be read ({reason(why)})", hint=way_out(why)) from why
        return data, "json" if path.suffix == ".json" else "html", url
    with opened(url, settings) as answer:
        data = answer.read(MAX_PAGE + 1)
        if len(data) > MAX_PAGE:
            raise SourceError(
                f"{without_password(url)}: looked for a list of files, found more than {MAX_PAGE >> 20} MB",
                hint="take another index: 'pip config list' and PIP_INDEX_URL say which is asked",
            )
        return data, answer.headers.get_content_type(), answer.geturl()


class _Redirects(HTTPRedirectHandler):
    """A password for one host goes to no other, and no page leads to a file of this machine."""

    def redirect_request(self, req, fp, code, msg, headers, newurl):  # type: ignore[no-untyped-def]
        if urlsplit(newurl).scheme not in ("http", "https"):
            raise HTTPError(newurl, code, "leads to no address of the web", headers, fp)
        new = super().redirect_request(req, fp, code, msg, headers, newurl)
        if new is not None and urlsplit(newurl).netloc != urlsplit(req.full_url).netloc:
            new.remove_header("Authorization")
        return new


def opened(url: str, settings: PipSettings):  # type: ignore[no-untyped-def]
    """The server's answer, open. Raises :class:`SourceError`."""
    parts = urlsplit(url)
    headers = {"Accept": _ACCEPT, "User-Agent": f"q8a8-patch/{__version__}"}
    user, password = _login(url)
    if user:
        word = base64.b64encode(f"{user}:{password}".encode()).decode()
        headers["Authorization"] = f"Basic {word}"
    bare = without_password(url)
    try:
        return _opener(parts.hostname or "", parts.port, settings).open(
            Request(bare, headers=headers),  # noqa: S310 - http or https: local_path has taken the others
            timeout=settings.timeout,
        )
    except HTTPError as why:
        raise SourceError(
            f"{bare}: HTTP {why.code} {why.reason}",
            hint=_SAYS.get(
                why.code, "the server is at fault: run the same command again later, or use another --source"
            ),
        ) from why
    except (URLError, OSError, ValueError) as why:
        reason = getattr(why, "reason", why)
        raise SourceError(f"{bare}: can't be reached ({reason})", hint=ONLINE) from why


def _login(url: str) -> tuple[str, str]:
    parts = urlsplit(url)
    if parts.username:
        return unquote(parts.username), unquote(parts.password or "")
    with contextlib.suppress(OSError, netrc.NetrcParseError, ValueError):
        known = netrc.netrc().authenticators(parts.hostname or "")
        if known is not None:
            return known[0], known[2] or ""
    return "", ""


def _opener(host: str, port: int | None, settings: PipSettings) -> OpenerDirector:
    context = ssl.create_default_context(cafile=settings.cert)
    if settings.client_cert:
        context.load_cert_chain(settings.client_cert)
    if host in settings.trusted_hosts or f"{host}:{port}" in settings.trusted_hosts:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    handlers: list[object] = [HTTPSHandler(context=context), _Redirects()]
    if settings.proxy:
        handlers.append(ProxyHandler({"http": settings.proxy, "https": settings.proxy}))
    return build_opener(*handlers)  # type: ignore[arg-type]
