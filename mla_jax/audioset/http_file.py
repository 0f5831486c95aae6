"""One HTTP request for a file, or for the rest of one; and what the answer says of the file.

Sent with the library `requests`, which brings the certificates that some installations of Python lack,
follows proxies and redirects, and tells a connection that broke from one that ended.
"""

import contextlib
import re
from collections.abc import Iterator
from typing import NamedTuple

import requests
import urllib3.exceptions

from mla_jax.errors import UserError

TIMEOUT = (10.0, 60.0)  # seconds to connect to each address of a name, and without a byte
_RANGE = re.compile(r"bytes (\d+)-\d+/(\d+)")
_HASH = re.compile(r"\s*(crc32c|md5)=(\S+)\s*")


class RemoteFile(NamedTuple):
    """A file as its server describes it.

    Attributes:
      url: its address.
      size: in bytes; 0 if it is not known before the end, as of a file that the server decompresses.
      etag: names this version of the file; empty if the server has no strong ETag for it.
      crc32c, md5: checksums in base64; empty if the server sends none.
    """

    url: str
    size: int
    etag: str
    crc32c: str
    md5: str


class BrokenError(Exception):
    """A transfer broke off, and another try may succeed.

    Attributes:
      wait: seconds that the server asks to wait before it.
      reached: whether there was a connection to a server at all.
    """

    def __init__(self, reason: str, *, wait: float = 0.0, reached: bool = True) -> None:
        super().__init__(reason)
        self.wait, self.reached = wait, reached


class UnavailableError(UserError):
    """A file that no server gives: none can be reached, or it refuses, or the transfer breaks every time."""


@contextlib.contextmanager
def ask(
    session: requests.Session, url: str, known: RemoteFile | None, have: int
) -> Iterator[requests.Response]:
    """Requests a file, or what comes after its first `have` bytes; the answer is open in the block.

    Yields:
      An answer of status 200 (the file from its beginning), 206 (a part) or 416 (there is no such part).

    Raises:
      BrokenError: the server has trouble, or the connection broke, here or in the block.
      UnavailableError: another try would not help.
    """
    headers = {"Accept-Encoding": "identity"}
    if known is not None and have:
        headers |= {"Range": f"bytes={have}-", "If-Range": known.etag}
    try:
        with session.get(url, headers=headers, stream=True, timeout=TIMEOUT) as response:
            status = response.status_code
            if status >= 500 or status in (408, 429):
                after = response.headers.get("Retry-After", "")
                wait = float(after) if after.isdecimal() else 0.0
                raise BrokenError(f"HTTP {status} {response.reason}", wait=wait)
            if status not in (200, 206, 416):
                raise UnavailableError(
                    f"{url} cannot be had: HTTP {status} {response.reason}; check the address, or "
                    "take another region or a mirror"
                )
            yield response
    except (requests.ConnectionError, requests.Timeout) as error:
        reason = _reason(error)
        if "CERTIFICATE_VERIFY_FAILED" in reason:  # other troubles of SSL may pass
            raise UnavailableError(f"{url} cannot be had: {reason}; check the address") from error
        raise BrokenError(reason, reached=not _is_no_connection(error)) from error
    except requests.exceptions.ChunkedEncodingError as error:
        raise BrokenError("the connection broke") from error
    except (requests.RequestException, UnicodeError) as error:
        raise UnavailableError(
            f"{url} cannot be had: {_reason(error)}; check the address"
        ) from error


def _is_no_connection(error: Exception) -> bool:
    """Whether the name is not known, or nobody there takes a connection."""
    inner = getattr(error.args[0], "reason", None) if error.args else None
    inner = getattr(inner, "original_error", inner)  # of a proxy
    return isinstance(inner, urllib3.exceptions.ConnectTimeoutError)  # above the other kinds


def _reason(error: Exception) -> str:
    """The innermost reason: requests and urllib3 wrap one error in another."""
    if isinstance(error, requests.Timeout):
        return "the server does not answer"
    inner: object = error
    while isinstance(inner, Exception):
        cause = inner
        inner = getattr(cause, "reason", None) or (cause.args[-1] if cause.args else None)
    words = " ".join(str(cause).split())
    return words.rsplit("): ", 1)[-1] or type(error).__name__


def describe(url: str, response: requests.Response) -> RemoteFile:
    """Describes the file that an answer of status 200 brings.

    Raises:
      UserError: it comes without its length, or compressed on the way, or it is empty.
    """
    headers = response.headers
    length = headers.get("Content-Length", "")
    if headers.get("Transfer-Encoding") == "chunked":
        length = "0"
    elif length.isdecimal() and int(length) == 0:
        raise UserError(f"{url} is empty; take another server")
    if not length.isdecimal() or headers.get("Content-Encoding", "identity") != "identity":
        raise UserError(
            f"{url} comes without its length, or compressed on the way, so nobody could tell whether "
            "it is whole; take another server"
        )
    hashes = {}
    # If the server keeps the file compressed, they are of the compressed file.
    if headers.get("x-goog-stored-content-encoding", "identity") == "identity":
        # Google sends the header once for each; requests joins them with commas.
        found = (_HASH.fullmatch(item) for item in headers.get("x-goog-hash", "").split(","))
        hashes = {match[1]: match[2] for match in found if match}
    etag = headers.get("ETag", "")
    return RemoteFile(
        url=url,
        size=int(length),
        etag=etag if etag.startswith('"') and int(length) else "",  # W/"..." is a weak one
        crc32c=hashes.get("crc32c", ""),
        md5=hashes.get("md5", ""),
    )


def is_rest_of(known: RemoteFile, have: int, response: requests.Response) -> bool:
    """Whether the answer is what comes after the first `have` bytes of the `known` file.

    A server that ignores If-Range could send the rest of another version.
    """
    match = _RANGE.fullmatch(response.headers.get("Content-Range", ""))
    return (
        response.status_code == 206
        and response.headers.get("ETag") == known.etag
        and match is not None
        and (int(match[1]), int(match[2])) == (have, known.size)
    )
