"""Telemetry: JSON lines on stdout, and `/healthz` and `/metrics` over HTTP. Never a value of a row, key or secret."""

from __future__ import annotations

import logging
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, TextIO

import structlog
from prometheus_client import REGISTRY, CollectorRegistry, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST

from cdc.errors import FatalFault

Log = structlog.stdlib.BoundLogger


def configure_logging(program: str, level: str, out: TextIO | None = None) -> None:
    """Send our own and the libraries' log lines as JSON to stdout, or elsewhere; one object a line, each naming the
    program.
    """
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        _without_messages_of_exceptions,
    ]
    handler = logging.StreamHandler(out or sys.stdout)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.JSONRenderer(ensure_ascii=False),
            ],
        )
    )
    logging.root.handlers[:] = [handler]
    # The libraries' lines may quote requests, which hold rows: only their warnings, and only ours below that.
    logging.root.setLevel(logging.WARNING)
    for name in ("cdc", "cdc_publisher", "cdc_consumer", "compactor"):
        logging.getLogger(name).setLevel(level.upper())
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=False,
    )
    structlog.contextvars.clear_contextvars()
    structlog.contextvars.bind_contextvars(program=program)


def get_log(name: str) -> Log:
    """The logger of a module; `name` is `__name__`."""
    log: Log = structlog.stdlib.get_logger(name)
    return log


def _without_messages_of_exceptions(_logger: Any, _method: str, fields: Any) -> Any:
    """Render `exc_info` as type and places only: the message of a database's or a parser's error may quote a row."""
    raised = fields.pop("exc_info", None)
    if raised:
        if isinstance(raised, tuple):
            error = raised[1]
        elif isinstance(raised, BaseException):
            error = raised
        else:
            error = sys.exc_info()[1]
        if error is not None:
            fields["error_type"] = f"{type(error).__module__}.{type(error).__qualname__}"
            frames = traceback.extract_tb(error.__traceback__)
            fields["error_at"] = [f"{frame.filename}:{frame.lineno} {frame.name}" for frame in frames[-12:]]
    return fields


@contextmanager
def http_server(
    host: str, port: int, healthy: Callable[[], bool], registry: CollectorRegistry = REGISTRY
) -> Iterator[int]:
    """Answer `/healthz` (200 while `healthy()`, else 503) and `/metrics` on a port (0: serve nothing) while inside."""
    if port == 0:
        yield 0
        return

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if self.path == "/metrics":
                self._answer(200, CONTENT_TYPE_LATEST, generate_latest(registry))
            elif self.path == "/healthz":
                ok = healthy()
                self._answer(200 if ok else 503, "text/plain", b"ok\n" if ok else b"unhealthy\n")
            else:
                self._answer(404, "text/plain", b"not found\n")

        def _answer(self, status: int, content_type: str, body: bytes) -> None:
            self.send_response(status)
            self.send_header("Content-Type", content_type)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_args: object) -> None:
            """Requests of health checks are no news."""

    try:
        server = ThreadingHTTPServer((host, port), Handler)
    except OSError as error:
        raise FatalFault(
            f"cannot listen for /healthz and /metrics: {error.strerror}",
            where=f"{host}:{port}",
            hint="choose another CDC_HTTP_PORT or CDC_HTTP_HOST, or end what listens there",
        ) from None
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, name="http", daemon=True)
    thread.start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
