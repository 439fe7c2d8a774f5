from __future__ import annotations

import hashlib
import hmac

import pytest

from compactor.mask import masker

KEY = b"k" * 32


@pytest.mark.parametrize("key", [KEY, b"k" * 64, b"a key longer than a block of SHA-256" * 3])
def test_a_token_is_the_keyed_hmac_and_keeps_equal_values_equal(key: bytes) -> None:
    token = masker("token", key)
    assert token is not None
    assert token("123.456.789-09") == hmac.new(key, b"123.456.789-09", hashlib.sha256).hexdigest()
    assert token("José") == token("José") != token("Jose")


@pytest.mark.parametrize(
    ("value", "shown"), [("+55 11 91234-5678", "*************5678"), ("12345", "*2345"), ("1234", "****"), ("", "")]
)
def test_last4_never_shows_a_value_whole(value: str, shown: str) -> None:
    mask = masker("last4", KEY)
    assert mask is not None
    assert mask(value) == shown


def test_redact_leaves_nothing_and_clear_is_no_mask() -> None:
    redact = masker("redact", KEY)
    assert redact is not None
    assert redact("anything") is None
    assert masker("clear", KEY) is None
