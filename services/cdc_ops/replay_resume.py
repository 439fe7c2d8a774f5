"""Resuming: a small file says up to which place of each shard a replay has come; it holds nothing of any record."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec

from cdc.errors import FatalFault


class _Stop(msgspec.Struct, frozen=True):
    what: str
    reached: Mapping[str, tuple[str, int]]
    version: int = 1


class ResumeFile:
    """Where a replay stopped; `words` say what is replayed, so that another replay does not go on from here."""

    def __init__(self, path: Path, words: Sequence[str]) -> None:
        self._path = path
        self._what = hashlib.sha256("\0".join(words).encode()).hexdigest()

    def read(self) -> dict[str, tuple[int, int]]:
        """The places that were reached, by shard; none when there is no file yet.

        Raises:
            FatalFault: when the file cannot be read, or is another replay's.
        """
        try:
            stop = msgspec.json.decode(self._path.read_bytes(), type=_Stop)
            reached = {shard: (int(number), sub) for shard, (number, sub) in stop.reached.items()}
        except FileNotFoundError:
            return {}
        except (OSError, msgspec.MsgspecError, ValueError):
            raise self._fault("the file of --resume cannot be read") from None
        if stop.what != self._what:
            raise self._fault("the file of --resume is another replay's, with other options")
        return reached

    def write(self, reached: Mapping[str, tuple[int, int]]) -> None:
        """Replace the file as a whole."""
        # Sequence numbers as text: they are longer than JSON's readers hold exactly.
        places = {shard: (str(number), sub) for shard, (number, sub) in sorted(reached.items())}
        part = self._path.with_name(f"{self._path.name}.part")
        try:
            part.write_bytes(msgspec.json.encode(_Stop(self._what, places)))
            part.replace(self._path)
        except OSError as error:
            raise self._fault(f"the file of --resume cannot be written: {type(error).__name__}") from None

    def _fault(self, what: str) -> FatalFault:
        hint = "name another file to begin anew; what is put twice does no harm"
        return FatalFault(what, where=str(self._path), hint=hint)
