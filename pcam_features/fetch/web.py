"""One HTTP request, with limits on the time, size and redirections of the answer."""

from __future__ import annotations

import email.utils
import http.client
import io
import ssl
import time
import urllib.request
from collections.abc import Iterator
from contextlib import closing
from typing import Any
from urllib.parse import urljoin, urlsplit

from .. import __version__
from ..errors import InputError, PcamError
from ..words import message_of

TIMEOUT = 60.0  # seconds without a byte
WINDOW, LEAST = 60.0, 16 << 10  # fewer bytes in that time are too slow
HEADERS = 1 << 20  # bytes of headers and of HTTP framing
CHUNK = 1 << 20
REDIRECTS = 5
MOVED = (301, 302, 303, 307, 308)
BUSY = (408, 425, 429)  # retried, as is every status from 500
LONGEST_ASKED = 300.0  # seconds; the longest Retry-After that is followed
REMEDIES = {  # what the server does, and what to do
    401: ("requires a password", "use another --mirror"),
    403: ("refuses access", "try another network or another --mirror"),
    404: ("does not have the file", "check the address, or use another --mirror"),
    407: ("is behind a proxy that requires a password", "add it to the address in HTTPS_PROXY"),
    410: ("no longer has the file", "use another --mirror"),
}
UNEXPECTED = ("sent an unexpected answer", "open the address in a browser to see why")


class AgainError(Exception):
    """A failure that may be temporary, so that the request is repeated."""

    def __init__(self, reason: str, wait: float = 0.0) -> None:
        super().__init__(reason)
        self.wait = wait


class _Paced(io.RawIOBase):
    """The bytes of a socket, with limits on their number and on the time spent waiting.

    It counts below HTTP, so that endless headers, chunks and trailers are caught as well. Only the time
    spent waiting for the server counts, not the time for writing to a slow disk.
    """

    def __init__(self, raw: io.RawIOBase) -> None:
        self.raw = raw
        self.room = HEADERS
        self.waited, self.count = 0.0, 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        began = time.monotonic()
        count = self.raw.readinto(buffer)
        self.waited += time.monotonic() - began
        self.count += count or 0
        self.room -= count or 0
        if self.room < 0:
            raise OSError("the response is too long")
        if self.waited >= WINDOW:
            if self.count < LEAST:
                raise OSError(f"only {self.count:,} bytes arrived in {self.waited:.0f} s")
            self.waited, self.count = 0.0, 0
        return count

    def close(self) -> None:
        self.raw.close()
        super().close()


class Response(http.client.HTTPResponse):
    def __init__(self, *args: Any, **how: Any) -> None:
        super().__init__(*args, **how)
        self.paced = _Paced(self.fp.detach())
        self.fp = io.BufferedReader(self.paced)

    def chunks(self, most: int) -> Iterator[bytes]:
        """The content, at most `most` bytes. Raises AgainError if the connection breaks."""
        self.paced.room = 2 * most + HEADERS  # chunks may be small, but not mostly framing
        try:
            while content := self.read1(CHUNK):
                yield content
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise AgainError(reason_of(error)) from None


class _Connections(urllib.request.AbstractHTTPHandler):
    def http_open(self, request: urllib.request.Request) -> Any:
        return self.do_open(self._plain, request)  # type: ignore[arg-type]

    def https_open(self, request: urllib.request.Request) -> Any:
        return self.do_open(self._secure, request)  # type: ignore[arg-type]

    http_request = https_request = urllib.request.AbstractHTTPHandler.do_request_

    @staticmethod
    def _plain(host: str, timeout: float) -> http.client.HTTPConnection:
        connection = http.client.HTTPConnection(host, timeout=timeout)
        connection.response_class = Response
        return connection

    @staticmethod
    def _secure(host: str, timeout: float) -> http.client.HTTPConnection:
        connection = http.client.HTTPSConnection(
            host, timeout=timeout, context=ssl.create_default_context()
        )
        connection.response_class = Response
        return connection


def reason_of(error: BaseException) -> str:
    """A short reason for an error."""
    reason = getattr(error, "reason", None) or error  # urllib wraps what happened
    if isinstance(reason, TimeoutError):
        return f"no data arrived for {TIMEOUT:.0f} s"
    if isinstance(reason, http.client.IncompleteRead):
        return "the connection was lost"
    words = getattr(reason, "strerror", None) or message_of(reason)
    return str(words)[:200]


def check_url(url: str, option: str) -> str:
    """The URL without its last slash. Raises InputError unless it is an http or https URL."""
    try:
        parts = urlsplit(url)
        plain = bool(parts.hostname) and (parts.port is None or parts.port > 0)
    except ValueError:
        plain = False
    if not plain or parts.scheme not in ("http", "https") or not url.isascii() or not url.isprintable():
        raise InputError(
            f"{option} {url} is not a web address; give one like https://example.org/pcam."
        )
    if " " in url or parts.query or parts.fragment or "@" in parts.netloc:
        raise InputError(
            f"{option} must not contain spaces, a user name, ? or #, because file names are appended "
            "to it; give the address of a folder."
        )
    return url.rstrip("/")


def ask(url: str, headers: dict[str, str]) -> Response:
    """The response of a URL, after redirections, with any status.

    Raises AgainError if there is no response, and PcamError for a redirection that is not allowed.
    """
    at = url
    for _ in range(REDIRECTS + 1):
        response = _ask_once(at, headers)
        if response.status not in MOVED:
            return response
        with closing(response):
            at = _followed(at, response.headers.get("Location", ""))
    raise PcamError(
        f"{url} is redirected more than {REDIRECTS} times; try again later, or use another --mirror."
    )


def _ask_once(url: str, headers: dict[str, str]) -> Response:
    opener = urllib.request.OpenerDirector()  # HTTP and HTTPS only: neither files nor FTP
    opener.add_handler(urllib.request.ProxyHandler())
    opener.add_handler(_Connections())
    opener.addheaders = [
        ("User-Agent", f"pcam-features/{__version__}"),
        ("Accept-Encoding", "identity"),
        *headers.items(),
    ]
    try:
        response = opener.open(url, timeout=TIMEOUT)
    except (OSError, http.client.HTTPException, ValueError) as error:
        if isinstance(getattr(error, "reason", error), ssl.SSLCertVerificationError):
            raise PcamError(
                f"this machine does not trust the certificate of {urlsplit(url).hostname} "
                f"({reason_of(error)}); check the clock, or set SSL_CERT_FILE to your network's "
                "certificates."
            ) from None
        raise AgainError(reason_of(error)) from None
    if not isinstance(response, Response):
        raise PcamError(
            f"{url} cannot be requested through this proxy; check HTTP_PROXY and HTTPS_PROXY."
        )
    return response


def _followed(url: str, location: str) -> str:
    try:
        target = urljoin(url, location)
        scheme, host = urlsplit(target).scheme, urlsplit(target).hostname
    except ValueError:
        scheme, host, target = "", None, location
    if scheme not in ("http", "https") or not host or not target.isprintable() or not location:
        refused = "which is not a web address"
    elif scheme == "http" and url.startswith("https"):
        refused = "which is not encrypted"
    else:
        return target
    raise PcamError(
        f"{url[:200]} is redirected to {location[:200] or 'an empty address'}, {refused}; use "
        "another --mirror."
    )


def refuse(url: str, response: Response) -> None:
    """Raise AgainError if the server is busy, and PcamError if it refuses the request."""
    status = response.status
    if status in BUSY or status >= 500:
        what = "limits the number of requests" if status == 429 else "is unavailable"
        raise AgainError(
            f"the server {what} (HTTP status {status})",
            _asked_wait(response.headers.get("Retry-After", "")),
        )
    what, advice = REMEDIES.get(status, UNEXPECTED)
    raise PcamError(f"the server of {url} {what} (HTTP status {status}); {advice}.")


def _asked_wait(words: str) -> float:
    """The seconds to wait from a Retry-After header, which holds seconds or a date."""
    if words.isascii() and words.isdigit():
        return min(float(words[:9]), LONGEST_ASKED)
    try:
        until = email.utils.parsedate_to_datetime(words).timestamp()
    except (ValueError, TypeError, OverflowError, IndexError):
        return 0.0
    return min(max(until - time.time(), 0.0), LONGEST_ASKED)
