"""A schema registry on 127.0.0.1 with Confluent's REST paths, as far as a consumer and a producer use them."""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

NOT_FOUND = (404, {"error_code": 40403, "message": "Schema not found"})
NO_SUCH_PATH = (404, {"error_code": 404, "message": "HTTP 404 Not Found"})


@dataclass
class RegistryDouble:
    """What it holds and how it behaves: `answers` (status and body) are given first, one a request."""

    url: str
    schemas: dict[int, dict[str, Any]] = field(default_factory=dict)
    login: str | None = None
    answers: list[tuple[int, dict[str, Any]]] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)

    def add(self, schema: str, schema_id: int | None = None, **more: Any) -> int:
        """Register a schema; its id, the same for the same schema."""
        body = {"schema": schema, **more}
        known = next((number for number, other in self.schemas.items() if other == body), None)
        number = schema_id or known or max(self.schemas, default=0) + 1
        self.schemas[number] = body
        return number

    def answer(self, method: str, path: str, login: str, body: bytes) -> tuple[int, dict[str, Any]]:
        self.requests.append(f"{method} {path}")
        if self.answers:
            return self.answers.pop(0)
        if self.login is not None and login != "Basic " + base64.b64encode(self.login.encode()).decode():
            return 401, {"error_code": 401, "message": "Unauthorized"}
        parts = path.partition("?")[0].strip("/").split("/")
        if method == "GET" and parts[:2] == ["schemas", "ids"]:
            found = self.schemas.get(int(parts[2]))
            return (200, found) if found is not None else NOT_FOUND
        if method == "POST" and parts[0] == "subjects" and parts[2:] == ["versions"]:
            return 200, {"id": self.add(json.loads(body)["schema"])}
        return NO_SUCH_PATH


@contextmanager
def schema_registry() -> Iterator[RegistryDouble]:
    """A registry on a free port, until the end of the block."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self._reply("GET")

        def do_POST(self) -> None:
            self._reply("POST")

        def _reply(self, method: str) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            status, answer = double.answer(method, self.path, self.headers.get("Authorization") or "", body)
            content = json.dumps(answer).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/vnd.schemaregistry.v1+json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_arguments: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    double = RegistryDouble(f"http://127.0.0.1:{server.server_port}")
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield double
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
