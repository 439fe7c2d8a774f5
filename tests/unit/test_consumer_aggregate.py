"""Aggregates of the KPL: split as the library does where they are whole, and nothing lost where they are not."""

from __future__ import annotations

import hashlib

import pytest
from aws_kinesis_agg.aggregator import RecordAggregator
from google.protobuf.message import DecodeError
from hypothesis import assume, given
from hypothesis import strategies as st

from cdc_consumer import aggregate as module
from cdc_consumer.aggregate import SUB_RECORDS_MAX, Split, split
from tests.kpl import MAGIC, aggregate, field, sealed, sub_record, varint

DAMAGED = "aggregate-damaged"


def test_what_the_librarys_aggregator_packs_is_split_again() -> None:
    aggregator = RecordAggregator()
    payloads = [b'{"id":%d}' % number for number in range(300)]
    for number, payload in enumerate(payloads):
        aggregator.add_user_record(f"key-{number % 7}", payload, str(number) if number % 2 else None)
    _, _, data = aggregator.clear_and_get().get_contents()
    assert split(data) == Split(payloads, {})


def test_a_plain_record_is_no_aggregate() -> None:
    for data in (b"", b'{"op":"c"}', MAGIC, MAGIC + b"x" * 15, MAGIC[1:] + b"x" * 40):
        assert split(data) is None


def test_a_wrong_checksum_makes_the_record_one_damaged_piece() -> None:
    data = bytearray(aggregate([b"a", b"b"]))
    data[8] ^= 1
    assert split(bytes(data)) == Split((bytes(data),), {0: "aggregate-checksum"})


def test_an_aggregate_of_nothing_holds_nothing() -> None:
    assert split(sealed(b"")) == Split([], {})


@pytest.mark.parametrize(
    "bad",
    [
        field(3, b"\x08\x00\x1a\x05a"),  # its data ends too early
        field(3, b"\xff" * 3),
        field(3, b"\x08\x00"),  # no data at all
        field(3, b"\x0c\x00"),
    ],
)
def test_a_bad_sub_record_loses_none_of_the_others(bad: bytes) -> None:
    found = split(sealed(field(1, b"key") + sub_record(b"a") + bad + sub_record(b"b")))
    assert found is not None
    assert (found.payloads[0], found.payloads[2]) == (b"a", b"b")
    assert list(found.damaged.items()) == [(1, DAMAGED)]


def test_where_the_next_sub_record_cannot_be_found_the_rest_is_one_damaged_piece() -> None:
    for rest in (b"\x1a\x7fshort", b"\x1b", b"\xff" * 12, b"\x02\x00", b"\x19\x00"):
        found = split(sealed(sub_record(b"a") + sub_record(b"") + rest))
        assert found == Split([b"a", b"", rest], {2: DAMAGED})


def test_fields_that_nobody_knows_are_passed_over() -> None:
    unknown = b"\x20\x05" + b"\x2d1234" + b"\x3112345678" + field(9, b"x") + varint(3 << 3) + b"\x01"
    for message in (unknown + sub_record(b"a"), unknown + sub_record(b"a") + field(3, b"\xff")):
        found = split(sealed(message))
        assert found is not None
        assert found.payloads[0] == b"a"


def test_keys_are_not_needed_to_read_a_payload() -> None:
    message = sub_record(b"a", partition_key=99, explicit_hash_key=2**40) + field(1, b"\xff")
    assert split(sealed(message)) == Split([b"a"], {})


def test_more_sub_records_than_memory_is_for_are_set_aside_as_one() -> None:
    one = sub_record(b"{}")
    found = split(sealed(one * (SUB_RECORDS_MAX + 3)))
    assert found is not None
    assert len(found.payloads) == SUB_RECORDS_MAX + 1
    assert found.payloads[-1] == one * 3
    assert found.damaged == {SUB_RECORDS_MAX: "aggregate-too-many"}


def test_a_message_too_large_to_be_parsed_at_once_is_walked_through() -> None:
    payloads = [b"x" * 600_000, b"", b"y" * 600_000]
    assert split(aggregate(payloads)) == Split(payloads, {})


whole_fields = st.one_of(
    st.binary(max_size=20).map(sub_record),
    st.binary(max_size=6).map(lambda content: field(7, content)),
    st.integers(0, 2**64 - 1).map(lambda value: varint(5 << 3) + varint(value)),
    st.just(b"\x9a\x80\x00" + sub_record(b"longer tag")[1:]),
)


@given(st.lists(whole_fields, max_size=8).map(b"".join))
def test_walking_a_message_finds_what_parsing_it_finds(message: bytes) -> None:
    records = module._parse_aggregate(message).records
    assert module._walk(memoryview(message)) == Split([record.data for record in records], {})


@given(st.lists(st.one_of(whole_fields, st.binary(max_size=6)), max_size=8).map(b"".join))
def test_walking_any_message_never_contradicts_parsing_it(message: bytes) -> None:
    walked = module._walk(memoryview(message))
    try:
        records = module._parse_aggregate(message).records
    except DecodeError:
        assert walked.damaged or not walked.payloads
        return
    assume(not walked.damaged)
    assert walked.payloads == [record.data for record in records]


@given(st.binary(max_size=40))
def test_any_bytes_behind_the_magic_are_split_or_refused_but_never_raise(data: bytes) -> None:
    for candidate in (MAGIC + data, MAGIC + data + hashlib.md5(data).digest()):
        split(candidate)
