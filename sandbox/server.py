"""Server: what the sandbox's servers have in common: a process, which ends with the block that they are used in."""

from __future__ import annotations

from types import TracebackType
from typing import Self

from sandbox.process import Process


class Server:
    """A server that runs as one process."""

    __slots__ = ()
    process: Process

    def stop(self) -> None:
        """End the server; may be repeated."""
        self.process.stop()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
