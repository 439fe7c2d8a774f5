from __future__ import annotations

import hashlib
import hmac

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from compactor.mask import masker
from compactor.tokens import tokens

KEY = b"k" * 32


@pytest.mark.parametrize("key", [KEY, b"k" * 64, b"a key longer than a block of SHA-256" * 3])
def test_a_token_is_the_keyed_hmac_and_keeps_equal_values_equal(key: bytes) -> None:
    token = masker("token", key)
    assert token is not None
    assert token("123.456.789-09") == hmac.new(key, b"123.456.789-09", hashlib.sha256).hexdigest()
    assert token("José") == token("José") != token("Jose")


@given(
    st.lists(st.lists(st.none() | st.text(max_size=80), max_size=5), max_size=3),
    st.sampled_from([KEY, b"k" * 64, "çã🔑".encode() * 30]),
    st.sampled_from([pa.string(), pa.large_string()]),
)
def test_the_tokens_of_a_column_are_those_of_its_values(
    parts: list[list[str | None]], key: bytes, type_: pa.DataType
) -> None:
    token = masker("token", key)
    assert token is not None
    values = [value for part in parts for value in part]
    made = tokens(pa.chunked_array(parts, type_), key)
    assert made.type == type_
    assert made.to_pylist() == [None if value is None else token(value) for value in values]


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
