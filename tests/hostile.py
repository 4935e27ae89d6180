"""A server on this machine that does to a download what networks and their boxes do."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Behavior = Callable[["Handler", bytes], None]


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Server

    def do_GET(self) -> None:
        path = self.path.split("?")[0]
        self.server.asked.append((path, self.headers.get("Range")))
        content = self.server.files.get(path.rpartition("/")[2])
        behavior = self.server.behaviors.pop(0) if self.server.behaviors else honest
        self.close_connection = True
        if content is None:
            answer(404)(self, b"")
        else:
            behavior(self, content)

    def send(self, status: int, content: bytes, **headers: object) -> None:
        """An answer with these headers; `_` stands for `-`, None leaves one out."""
        self.send_response(status)
        for name, value in ({"Content_Length": len(content)} | headers).items():
            if value is not None:
                self.send_header(name.replace("_", "-"), str(value))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *words: Any) -> None:
        pass


class Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.files: dict[str, bytes] = {}
        self.behaviors: list[Behavior] = []  # of the next requests; honest after that
        self.asked: list[tuple[str, str | None]] = []
        self.url = f"http://127.0.0.1:{self.server_address[1]}/mirror"

    def handle_error(self, *words: Any) -> None:
        """A client that hangs up is what is tested."""


@contextmanager
def serving(**files: bytes) -> Iterator[Server]:
    server = Server()
    server.files.update(files)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def honest(handler: Handler, content: bytes) -> None:
    asked = re.fullmatch(r"bytes=(\d+)-", handler.headers.get("Range", ""))
    start = int(asked[1]) if asked else 0
    if not asked:
        handler.send(200, content, ETag='"one"')
    elif start >= len(content):
        handler.send(416, b"", Content_Range=f"bytes */{len(content)}")
    else:
        span = f"bytes {start}-{len(content) - 1}/{len(content)}"
        handler.send(206, content[start:], Content_Range=span, ETag='"one"')


def drops(handler: Handler, content: bytes) -> None:
    """The connection ends in the middle of what was asked for."""
    asked = re.fullmatch(r"bytes=(\d+)-", handler.headers.get("Range", ""))
    start = int(asked[1]) if asked else 0
    rest = content[start:]
    if asked:
        span = f"bytes {start}-{len(content) - 1}/{len(content)}"
        handler.send(206, rest[: len(rest) // 2], Content_Length=len(rest), Content_Range=span)
    else:
        handler.send(200, rest[: len(rest) // 2], Content_Length=len(rest))


def ignores_range(handler: Handler, content: bytes) -> None:
    handler.send(200, content)


def damages(handler: Handler, content: bytes) -> None:
    handler.send(200, content[:-1] + bytes([content[-1] ^ 1]))


def says_less(handler: Handler, content: bytes) -> None:
    handler.send(200, content, Content_Length=len(content) - 5)


def says_more(handler: Handler, content: bytes) -> None:
    handler.send(200, content + b"tail!")


def says_nonsense(handler: Handler, content: bytes) -> None:
    handler.send(200, content, Content_Length="9" * 5000)


def wrong_range(handler: Handler, content: bytes) -> None:
    handler.send(206, content[:10], Content_Range=f"bytes 0-9/{len(content)}")


def other_total(handler: Handler, content: bytes) -> None:
    handler.send(206, content[5:], Content_Range=f"bytes 5-{len(content) - 1}/{len(content) + 9}")


def shifted(handler: Handler, content: bytes) -> None:
    """As many bytes as were asked for, but others, and said to be others."""
    start = int(handler.headers.get("Range", "bytes=0-")[6:-1])
    span = f"bytes {start - 1}-{len(content) - 1}/{len(content)}"
    handler.send(206, content[:1] * (len(content) - start), Content_Range=span)


def huge_headers(handler: Handler, content: bytes) -> None:
    handler.send(200, content, X_Long="x" * 100_000)


def many_headers(handler: Handler, content: bytes) -> None:
    handler.send(200, content, **{f"X-{k}": "x" for k in range(300)})


def no_http(handler: Handler, content: bytes) -> None:
    handler.wfile.write(b"\x00\xff not HTTP at all \r\n\r\n")


def hangs_up(handler: Handler, content: bytes) -> None:
    pass


def continues_forever(handler: Handler, content: bytes) -> None:
    for _ in range(10_000):
        handler.wfile.write(b"HTTP/1.1 100 Continue\r\n\r\n" * 100)


def has_no_end(handler: Handler, content: bytes) -> None:
    handler.send(200, content, Content_Length=None)
    for _ in range(10_000):
        handler.wfile.write(content)


def chunked(handler: Handler, content: bytes) -> None:
    half = len(content) // 2
    wrapped = b"".join(b"%x\r\n%s\r\n" % (len(one), one) for one in (content[:half], content[half:]))
    handler.send(200, wrapped + b"0\r\n\r\n", Content_Length=None, Transfer_Encoding="chunked")


def trailers_without_end(handler: Handler, content: bytes) -> None:
    handler.send(200, b"0\r\n", Content_Length=None, Transfer_Encoding="chunked")
    for _ in range(10_000):
        handler.wfile.write(b"X-Trailer: x\r\n" * 100)


def trickles(handler: Handler, content: bytes) -> None:
    handler.send(200, b"", Content_Length=len(content))
    for k in range(len(content)):
        handler.wfile.write(content[k : k + 1])
        time.sleep(0.02)


def answer(status: int, **headers: object) -> Behavior:
    return lambda handler, content: handler.send(status, b"words", **headers)


def moved(target: str, status: int = 302) -> Behavior:
    return answer(status, Location=target)


HARMS: tuple[Behavior, ...] = (
    *(
        drops,
        ignores_range,
        damages,
        says_less,
        says_more,
        says_nonsense,
        wrong_range,
        other_total,
        shifted,
    ),
    *(huge_headers, many_headers, no_http, hangs_up, continues_forever, has_no_end, chunked),
    *(trailers_without_end, answer(500), answer(503, Retry_After="soon"), answer(416), answer(206)),
    *(answer(200, ETag="x\ty"), answer(429, Retry_After="-5"), answer(204, Content_Length=None)),
)
