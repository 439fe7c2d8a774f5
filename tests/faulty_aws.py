"""A proxy between a program and its AWS services: it refuses or changes what a drill says, and passes on the rest."""

from __future__ import annotations

import http.client
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from sandbox.process import LOCALHOST

_HOP = {"connection", "keep-alive", "transfer-encoding", "content-length", "date", "server"}
"""Headers of an answer that are the proxy's own."""
_OURS = {"content-length", "expect", "transfer-encoding"}
"""Headers of a request that are the proxy's own."""


@dataclass(frozen=True, slots=True)
class Request:
    """What a program asked: `target` is the operation of a JSON service, such as `DynamoDB_20120810.UpdateItem`."""

    method: str
    path: str
    target: str
    body: bytes


Rule = Callable[[Request], Request | None]
"""The request to pass on, or None to refuse it with an internal error of the service."""


@dataclass
class FaultyAws:
    """The proxy's address and its rules, by name; a drill adds and removes them while programs run."""

    port: int
    rules: dict[str, Rule]
    changes: dict[str, Callable[[Request, bytes], bytes]]

    @property
    def url(self) -> str:
        return f"http://{LOCALHOST}:{self.port}"

    @contextmanager
    def refusing(self, name: str, matches: Callable[[Request], bool]) -> Iterator[None]:
        """Refuse some requests while inside."""
        self.rules[name] = lambda request: None if matches(request) else request
        try:
            yield
        finally:
            del self.rules[name]

    @contextmanager
    def changing(self, name: str, change: Callable[[Request, bytes], bytes]) -> Iterator[None]:
        """Change answers while inside."""
        self.changes[name] = change
        try:
            yield
        finally:
            del self.changes[name]


class _Handler(BaseHTTPRequestHandler):
    """Answers one connection; `proxy` and `behind`, the port of the services, are set on a class for each proxy."""

    protocol_version = "HTTP/1.1"
    proxy: FaultyAws
    behind: int

    def _pass(self) -> None:
        asked = Request(self.command, self.path, self.headers.get("X-Amz-Target", ""), self._body())
        request: Request | None = asked
        for rule in list(self.proxy.rules.values()):
            request = rule(request) if request is not None else None
        if request is None:
            self._answer(500, {"Content-Type": "application/x-amz-json-1.1"}, b'{"__type":"InternalFailure"}')
            return
        status, headers, content = _asked(self.behind, request, _without(self.headers.items(), _OURS))
        for change in list(self.proxy.changes.values()):
            content = change(asked, content)
        length = headers.get("Content-Length") if self.command == "HEAD" else None
        self._answer(status, _without(headers.items(), _HOP), content, length)

    do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = _pass  # noqa: N815 - the base class finds them by these names

    def _body(self) -> bytes:
        if "chunked" not in self.headers.get("Transfer-Encoding", "").lower():
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))
        body = b""
        while size := int(self.rfile.readline().split(b";")[0], 16):
            body += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return body

    def _answer(self, status: int, headers: dict[str, str], content: bytes, length: str | None = None) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        if status not in {204, 304}:
            self.send_header("Content-Length", length or str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_arguments: object) -> None:
        """Requests are no news."""


@contextmanager
def faulty_aws(port: int) -> Iterator[FaultyAws]:
    """Run the proxy in front of the services on a port."""
    proxy = FaultyAws(0, {}, {})
    handler = type("Handler", (_Handler,), {"proxy": proxy, "behind": port})
    server = ThreadingHTTPServer((LOCALHOST, 0), handler)
    server.daemon_threads = True
    proxy.port = server.server_port
    thread = threading.Thread(target=server.serve_forever, name="faulty aws", daemon=True)
    thread.start()
    try:
        yield proxy
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def _asked(port: int, request: Request, headers: dict[str, str]) -> tuple[int, dict[str, str], bytes]:
    """What the services answer: status, headers and content."""
    connection = http.client.HTTPConnection(LOCALHOST, port, timeout=60)
    try:
        connection.request(request.method, request.path, request.body, headers)
        answer = connection.getresponse()
        return answer.status, dict(answer.getheaders()), answer.read()
    finally:
        connection.close()


def _without(headers: Iterable[tuple[str, str]], names: set[str]) -> dict[str, str]:
    return {name: value for name, value in headers if name.lower() not in names}
