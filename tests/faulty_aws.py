"""A proxy between a program and its AWS services: it refuses or changes what a drill says, and passes on the rest."""

from __future__ import annotations

import http.client
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from sandbox.process import LOCALHOST

_HOP = {"connection", "keep-alive", "transfer-encoding", "content-length", "date", "server"}


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


@contextmanager
def faulty_aws(port: int) -> Iterator[FaultyAws]:
    """Run the proxy in front of the services on a port."""
    proxy = FaultyAws(0, {}, {})

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _pass(self) -> None:
            body = self._body()
            request: Request | None = Request(self.command, self.path, self.headers.get("X-Amz-Target", ""), body)
            asked = request
            for rule in list(proxy.rules.values()):
                request = rule(request) if request is not None else None
            if request is None or asked is None:
                self._answer(500, {"Content-Type": "application/x-amz-json-1.1"}, b'{"__type":"InternalFailure"}')
                return
            headers = {
                name: value
                for name, value in self.headers.items()
                if name.lower() not in {"content-length", "expect", "transfer-encoding"}
            }
            connection = http.client.HTTPConnection(LOCALHOST, port, timeout=60)
            try:
                connection.request(request.method, request.path, request.body, headers)
                answer = connection.getresponse()
                content = answer.read()
            finally:
                connection.close()
            for change in list(proxy.changes.values()):
                content = change(asked, content)
            kept = {name: value for name, value in answer.getheaders() if name.lower() not in _HOP}
            length = answer.getheader("Content-Length") if self.command == "HEAD" else None
            self._answer(answer.status, kept, content, length)

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

    server = ThreadingHTTPServer((LOCALHOST, 0), Handler)
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
