"""Requests counted: a proxy in front of the sandbox's AWS that tells what a system would be billed for, by kind."""

from __future__ import annotations

import http.client
from collections import Counter
from collections.abc import Mapping
from contextlib import AbstractContextManager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Lock, Thread
from types import TracebackType
from typing import Any, Self
from urllib.parse import parse_qs, urlsplit

from sandbox.process import LOCALHOST

_HOP_BY_HOP = frozenset({"connection", "keep-alive", "transfer-encoding", "content-length"})
_ANSWER_SECONDS = 60


class RequestsCounted(AbstractContextManager["RequestsCounted"]):
    """A proxy on a free port of 127.0.0.1; `counts` has requests by (operation, place).

    An operation is named as AWS names it (`PutObject`, `PutRecords`), a place is what `place_of` says of an S3 key, or
    empty for what is not S3.
    """

    def __init__(self, upstream_port: int) -> None:
        self.counts: Counter[tuple[str, str]] = Counter()
        self._lock = Lock()
        counted = self

        class Handler(_Forward):
            def counted(self, operation: str, place: str) -> None:
                with counted._lock:
                    counted.counts[operation, place] += 1

        Handler.upstream_port = upstream_port
        self._server = ThreadingHTTPServer((LOCALHOST, 0), Handler)
        self._server.daemon_threads = True
        self._thread = Thread(target=self._server.serve_forever, name="requests-counted", daemon=True)

    @property
    def endpoint_url(self) -> str:
        """Where programs find AWS."""
        return f"http://{LOCALHOST}:{self._server.server_port}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def snapshot(self) -> Counter[tuple[str, str]]:
        """The counts up to now; the difference of two is what happened between them."""
        with self._lock:
            return Counter(self.counts)


def operation_of(method: str, target: str, headers: Mapping[str, str]) -> str:
    """What AWS calls the operation of a request: by its header, or of S3 by method and query."""
    named = next((value for name, value in headers.items() if name.lower() == "x-amz-target"), "")
    if named:
        return named.rpartition(".")[2]
    url = urlsplit(target)
    query = parse_qs(url.query, keep_blank_values=True)
    is_bucket = "/" not in url.path.strip("/")
    if method == "GET":
        return "ListObjectsV2" if is_bucket or "list-type" in query else "GetObject"
    if method == "PUT":
        return "UploadPart" if "partNumber" in query else "CreateBucket" if is_bucket else "PutObject"
    if method == "POST":
        kinds = {"uploads": "CreateMultipartUpload", "uploadId": "CompleteMultipartUpload", "delete": "DeleteObjects"}
        return next((operation for mark, operation in kinds.items() if mark in query), "Post")
    return {"HEAD": "HeadObject", "DELETE": "DeleteObject"}.get(method, method)


def place_of(target: str) -> str:
    """Which part of the system an S3 request is about: the zone of raw, or the lake table and kind of file."""
    url = urlsplit(target)
    _bucket, _, key = url.path.strip("/").partition("/")
    key = key or parse_qs(url.query).get("prefix", [""])[0]
    parts = [part for part in key.split("/") if part]
    if "raw" in parts[:1]:
        return "/".join(parts[:2])
    if "warehouse" in parts[:1]:
        kind = next((part for part in ("metadata", "data") if part in parts), "")
        return "/".join(filter(None, (*parts[1:3], kind)))
    return "/".join(parts[:1])


class _Forward(BaseHTTPRequestHandler):
    """Passes a request on as it is, and the answer back."""

    protocol_version = "HTTP/1.1"
    upstream_port: int

    def counted(self, operation: str, place: str) -> None:
        """Note a request."""
        raise NotImplementedError

    def do_GET(self) -> None:
        """Any method goes the same way. A client that does not wait for its answer is its own affair."""
        with suppress(BrokenPipeError, ConnectionResetError):
            self._forward()

    do_PUT = do_POST = do_DELETE = do_HEAD = do_GET  # noqa: N815  # http.server's names

    def log_message(self, *_: Any) -> None:
        """Requests are counted, not logged."""

    def _forward(self) -> None:
        body = self._body()
        operation = operation_of(self.command, self.path, dict(self.headers))
        self.counted(operation, "" if "X-Amz-Target" in self.headers else place_of(self.path))
        upstream = http.client.HTTPConnection(LOCALHOST, self.upstream_port, timeout=_ANSWER_SECONDS)
        try:
            headers = {name: value for name, value in self.headers.items() if name.lower() not in _HOP_BY_HOP}
            headers.pop("Expect", None)
            upstream.request(self.command, self.path, body=body, headers={**headers, "Content-Length": str(len(body))})
            answer = upstream.getresponse()
            content = answer.read()
        finally:
            upstream.close()
        self.send_response_only(answer.status)
        length = answer.getheader("Content-Length") if self.command == "HEAD" else str(len(content))
        for name, value in answer.getheaders():
            if name.lower() not in _HOP_BY_HOP:
                self.send_header(name, value)
        self.send_header("Content-Length", length or "0")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def _body(self) -> bytes:
        if "chunked" in self.headers.get("Transfer-Encoding", ""):
            parts = []
            while size := int(self.rfile.readline().split(b";")[0], 16):
                parts.append(self.rfile.read(size))
                self.rfile.readline()
            self.rfile.readline()
            return b"".join(parts)
        return self.rfile.read(int(self.headers.get("Content-Length") or 0))
