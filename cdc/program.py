"""The frame of every program: settings first, then logging and HTTP, a clean stop on SIGTERM, and honest exit codes.

Exit codes: 0 done, 1 a fatal fault (logged with what to do), 2 wrong settings or usage.
"""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import TypeVar

from cdc import vitals
from cdc.emf import Series, emitting
from cdc.errors import CdcError, SettingsFault
from cdc.settings import Settings, load
from cdc.stopping import heed_signals
from cdc.telemetry import configure_logging, get_log, http_server

T = TypeVar("T", bound=Settings)
EXIT_FATAL = 1
EXIT_USAGE = 2


def run_program(
    name: str,
    model: type[T],
    environ: Mapping[str, str],
    body: Callable[[T, threading.Event], None],
    series: Sequence[Series] = (),
) -> int:
    """Run `body(settings, stop)` as a program; the event is set on SIGTERM and SIGINT. Returns the exit code.

    `series` are what the program has for CloudWatch, where the settings ask for that.
    """
    try:
        settings = load(model, environ)
    except SettingsFault as fault:
        return _refuse(name, fault)
    configure_logging(name, settings.log_level)
    vitals.STARTS.inc()
    vitals.watch_memory()
    stop = threading.Event()
    heed_signals(stop, _tell)
    # Around all that is run, so that its last lines tell of a failure too.
    with _metrics(name, settings, series):
        code = _run(name, settings, body, stop)
        if code:
            vitals.FAILURES.inc()
    return code


def _metrics(name: str, settings: Settings, series: Sequence[Series]) -> AbstractContextManager[None]:
    if settings.metrics != "emf":
        return nullcontext()
    both = (*series, *vitals.SERIES)
    return emitting(both, name, settings.metrics_namespace, settings.metrics_period_seconds)


def _tell(one: signal.Signals) -> None:
    get_log("cdc.program").info("stopping", signal=one.name)


def _run(name: str, settings: T, body: Callable[[T, threading.Event], None], stop: threading.Event) -> int:
    log = get_log("cdc.program")
    try:
        with http_server(settings.http_host, settings.http_port, healthy=lambda: not stop.is_set()):
            log.info("started")
            body(settings, stop)
    except SettingsFault as fault:
        return _refuse(name, fault)
    except CdcError as error:
        log.error("failed", what=error.what, where=error.where, hint=error.hint, kind=type(error).__name__)  # noqa: TRY400
        return EXIT_FATAL
    except Exception:
        log.exception("failed", what="an unexpected error", hint="report it with this line; it holds no data of rows")
        return EXIT_FATAL
    log.info("stopped")
    return 0


def _refuse(name: str, fault: SettingsFault) -> int:
    sys.stderr.write(f"{name}: {fault}\n" + "".join(f"  - {problem}\n" for problem in fault.problems))
    return EXIT_USAGE
