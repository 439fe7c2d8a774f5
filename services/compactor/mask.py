"""Masks: what a personal column shows in the lake. `token` keeps joins, `last4` and `redact` keep little or nothing."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable
from typing import Any

LAST_SHOWN = 4

Masker = Callable[[Any], Any]


def masker(mask: str, key: bytes) -> Masker | None:
    """What a mask does to a value that is not null; None for `clear`, which does nothing.

    A `token` is the hexadecimal HMAC-SHA256 of the value under the masking key: equal values stay equal, and without
    the key nobody can list all CPFs to find the one behind a token. It is still personal data (LGPD art. 13 §4).
    """
    if mask == "clear":
        return None
    if mask == "token":
        keyed = hmac.new(key, digestmod=hashlib.sha256)

        def token(value: str) -> str:
            mac = keyed.copy()
            mac.update(value.encode())
            return mac.hexdigest()

        return token
    if mask == "last4":
        return _last4
    if mask == "redact":
        return lambda _value: None
    raise ValueError(f"no such mask: {mask}")


def _last4(value: str) -> str:
    """All but the last four characters as stars; a value that is not longer shows nothing."""
    hidden = max(len(value) - LAST_SHOWN, 0) or len(value)
    return "*" * hidden + value[hidden:]
