"""Masks: what a personal column shows in the lake. `token` keeps joins, `last4` and `redact` keep little or nothing."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Any

LAST_SHOWN = 4
_BLOCK_BYTES = 64
_INNER_PAD = bytes(octet ^ 0x36 for octet in range(256))
_OUTER_PAD = bytes(octet ^ 0x5C for octet in range(256))

Masker = Callable[[Any], Any]


def masker(mask: str, key: bytes) -> Masker | None:
    """What a mask does to a value that is not null; None for `clear`, which does nothing.

    A `token` is the hexadecimal HMAC-SHA256 of the value under the masking key: equal values stay equal, and without
    the key nobody can list all CPFs to find the one behind a token. It is still personal data (LGPD art. 13 §4).
    """
    if mask == "clear":
        return None
    if mask == "token":
        return _token(key)
    if mask == "last4":
        return _last4
    if mask == "redact":
        return lambda _value: None
    raise ValueError(f"no such mask: {mask}")


def fingerprint(key: bytes) -> str:
    """What tells one masking key from another and nothing else: the beginning of the token of a constant."""
    return _token(key)("usuarios-cdc")[:16]


def _token(key: bytes) -> Callable[[str], str]:
    """HMAC-SHA256 (RFC 2104) with the two padded keys hashed once: half the time of the module `hmac`."""
    padded = (hashlib.sha256(key).digest() if len(key) > _BLOCK_BYTES else key).ljust(_BLOCK_BYTES, b"\0")
    new_inner = hashlib.sha256(padded.translate(_INNER_PAD)).copy
    new_outer = hashlib.sha256(padded.translate(_OUTER_PAD)).copy

    def token(value: str) -> str:
        within = new_inner()
        within.update(value.encode())
        around = new_outer()
        around.update(within.digest())
        return around.hexdigest()

    return token


def _last4(value: str) -> str:
    """All but the last four characters as stars; a value that is not longer shows nothing."""
    hidden = max(len(value) - LAST_SHOWN, 0) or len(value)
    return "*" * hidden + value[hidden:]
