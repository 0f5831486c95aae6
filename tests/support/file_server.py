"""A server of files over HTTP, on a real socket, that can be told to misbehave."""

import base64
import contextlib
import hashlib
import re
import socket
import struct
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import google_crc32c


@dataclass
class File:
    """A file, and how it is served.

    Attributes:
      content: its bytes.
      etag: as sent; `next_etag` takes its place after the first answer.
      hashes: which checksums are sent: crc32c, md5.
      hashed: what the checksums are of, if not of the content.
      stored_encoding: how the file is said to lie on the server.
      statuses: sent instead of it, one an answer, till they are used up.
      breaks: the connection breaks after so many bytes of an answer, one each.
      reset: it breaks with a reset, not with an end.
      pause: after so many bytes of an answer nothing more comes, and `paused` is set.
      ranges: Range is understood; if_range: If-Range is.
      most: bytes of an answer to a Range, fewer than asked for, as a server may.
      shift: what its Content-Range is wrong by, in its start and its total.
      length: the Content-Length sent, if not the right one; -1 for none.
      chunked: it is sent in chunks, without its length.
      headers: sent too, with statuses as well.
    """

    content: bytes
    etag: str = '"one"'
    next_etag: str | None = None
    hashes: tuple[str, ...] = ("crc32c", "md5")
    hashed: bytes | None = None
    stored_encoding: str = "identity"
    statuses: list[int] = field(default_factory=list)
    breaks: list[int] = field(default_factory=list)
    reset: bool = False
    pause: int = -1
    ranges: bool = True
    if_range: bool = True
    most: int = 10**9
    shift: tuple[int, int] = (0, 0)
    length: int | None = None
    chunked: bool = False
    headers: dict[str, str] = field(default_factory=dict)

    def checksums(self) -> list[str]:
        """Values of x-goog-hash, one a header as Google sends them."""
        data = self.content if self.hashed is None else self.hashed
        digests = {
            "crc32c": google_crc32c.Checksum(data).digest(),
            "md5": hashlib.md5(data).digest(),
        }
        return [f"{name}={base64.b64encode(digests[name]).decode()}" for name in self.hashes]


class Server(ThreadingHTTPServer):
    """Serves `files` by path; `log` has (path, Range or '', status) of every answer."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.files: dict[str, File] = {}
        self.log: list[tuple[str, str, int]] = []
        self.paused, self.released = threading.Event(), threading.Event()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients go away; that is what these tests are about."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Server

    def log_message(self, *_: Any) -> None:
        pass

    def do_GET(self) -> None:
        file = self.server.files.get(self.path)
        asked = self.headers.get("Range", "")
        status = 404 if file is None else file.statuses.pop(0) if file.statuses else 200
        if file is None or status != 200:
            self._end(status, asked, file.headers if file else {})
            return
        start, total = 0, len(file.content)
        same = not file.if_range or self.headers.get("If-Range") in (None, file.etag)
        if asked and file.ranges and same:
            start = int(re.fullmatch(r"bytes=(\d+)-", asked)[1])  # type: ignore[index]
            status = 206
            if start >= total:
                self._end(416, asked, {})
                return
        self.server.log.append((self.path, asked, status))
        body = file.content[start : start + file.most] if status == 206 else file.content
        self.send_response(status)
        if file.etag:
            self.send_header("ETag", file.etag)
        if file.chunked:
            self.send_header("Transfer-Encoding", "chunked")
            pieces = [body[i : i + 1000] for i in range(0, len(body), 1000)]
            body = b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in [*pieces, b""])
        elif file.length != -1:
            self.send_header(
                "Content-Length", str(len(body) if file.length is None else file.length)
            )
        if status == 206:
            first, last = start + file.shift[0], start + len(body) - 1
            self.send_header("Content-Range", f"bytes {first}-{last}/{total + file.shift[1]}")
        for value in file.checksums():
            self.send_header("x-goog-hash", value)
        self.send_header("x-goog-stored-content-encoding", file.stored_encoding)
        for name, value in file.headers.items():
            self.send_header(name, value)
        self.end_headers()
        file.etag = file.next_etag or file.etag
        self._send(file, body)

    def _send(self, file: File, body: bytes) -> None:
        end = file.breaks.pop(0) if file.breaks else len(body)
        if 0 <= file.pause < end:
            end, file.pause = file.pause, -1
            self.wfile.write(body[:end])
            self.server.paused.set()
            self.server.released.wait(60)
        else:
            self.wfile.write(body[:end])
        if end < len(body) or file.length is not None:
            self.close_connection = True
            if file.reset:
                linger = struct.pack("ii", 1, 0)
                self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
                self.connection.close()

    def _end(self, status: int, asked: str, headers: dict[str, str]) -> None:
        self.server.log.append((self.path, asked, status))
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", "0")
        self.end_headers()


@contextlib.contextmanager
def serving() -> Iterator[Server]:
    """A server on a free port, while the block runs."""
    with Server() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        try:
            yield server
        finally:
            server.released.set()
            server.shutdown()
            thread.join()
