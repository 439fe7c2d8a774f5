"""The errors tree: what failed, where, and what to do next.

    CdcError
    ├── RecordFault      one record cannot be applied: quarantine it, go on
    ├── TransientFault   the outside world failed for now: back off, try again
    ├── LeaseLost        another worker owns the shard: drop what is in flight
    └── FatalFault       going on could lose or falsify data: exit non-zero
        ├── RawFault         raw lacks something, or says what cannot be: nothing past it is merged
        └── SettingsFault    settings or contracts are wrong: name all problems, exit 2

No text of an error ever holds a value of a row, a key or a secret.
"""

from __future__ import annotations

from collections.abc import Sequence


class CdcError(Exception):
    """An error that an operator can act on: `what` happened, `where`, and a `hint` at what to do next."""

    def __init__(self, what: str, *, where: str = "", hint: str = "") -> None:
        super().__init__(what)
        self.what = what
        self.where = where
        self.hint = hint

    def __str__(self) -> str:
        where = f" ({self.where})" if self.where else ""
        hint = f"; {self.hint}" if self.hint else ""
        return f"{self.what}{where}{hint}"


class RecordFault(CdcError):
    """One record cannot be applied. `reason` is a short fixed word for counting, such as `not-json`."""

    def __init__(self, reason: str, what: str, *, where: str = "", hint: str = "") -> None:
        super().__init__(what, where=where, hint=hint)
        self.reason = reason


class TransientFault(CdcError):
    """The outside world failed for now; the same call may succeed later."""


class LeaseLost(CdcError):
    """Another worker owns the shard now; what this one has in flight must change nothing."""


class FatalFault(CdcError):
    """Going on could lose or falsify data; the program must stop with a non-zero exit."""


class RawFault(FatalFault):
    """The raw zone lacks something or says what cannot be; nothing past it may be merged."""


class SettingsFault(FatalFault):
    """Settings or table contracts are wrong; `problems` names every one of them at once."""

    def __init__(self, problems: Sequence[str]) -> None:
        super().__init__(f"{len(problems)} problem(s) in the settings", hint="mend them and start again")
        self.problems = tuple(problems)
