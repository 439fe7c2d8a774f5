"""CDC_SCHEMA_REGISTRY: what it may be, checked before anything is asked, and never shown with its password."""

from __future__ import annotations

import pytest

from cdc.errors import SettingsFault
from cdc.settings import describe, load
from cdc_consumer.settings import ConsumerSettings
from tests.conftest import ROOT

GOOD = {
    "CDC_SOURCE": "kinesis://s", "CDC_TABLES": str(ROOT / "tables"), "CDC_RAW": "s3://b/raw",
    "CDC_QUARANTINE": "s3://b/quarantine", "CDC_LEASES": "leases",
}  # fmt: skip


def registry(text: str) -> tuple[str, str | None] | None:
    location = load(ConsumerSettings, {**GOOD, "CDC_SCHEMA_REGISTRY": text}).schema_registry
    if location is None:
        return None
    return location.url, None if location.user_info is None else location.user_info.get_secret_value()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", None), ("http://h:8081", ("http://h:8081", None)),
        ("https://ana:s%40%2F@h/apis/ccompat/v7", ("https://h/apis/ccompat/v7", "ana:s@/")),
        ("https://ana:x@a:1,https://ana:x@b:2", ("https://a:1,https://b:2", "ana:x")),
        ("http://[::1]:8081", ("http://[::1]:8081", None)), ("https://key@h", ("https://h", "key:")),
    ],
)  # fmt: skip
def test_what_it_may_be(text: str, expected: tuple[str, str | None] | None) -> None:
    assert registry(text) == expected


@pytest.mark.parametrize(
    "text",
    ["h:8081", "ftp://h", "http://", "http://h:x", "http://h:99999", "http://h:0", "http://a,", "http://h?x=1",
     "http://h#x", "mock://h", "http://u:secret@a,http://b:secret@b", "http://[::1", "http://:secret@"],
)  # fmt: skip
def test_what_it_may_not_be_is_named_without_its_value(text: str) -> None:
    with pytest.raises(SettingsFault) as caught:
        registry(text)
    (problem,) = caught.value.problems
    assert problem.startswith("CDC_SCHEMA_REGISTRY: must")
    assert "secret" not in problem


def test_its_password_is_not_shown_and_help_names_it() -> None:
    settings = load(ConsumerSettings, {**GOOD, "CDC_SCHEMA_REGISTRY": "http://ana:secret@h"})
    assert "secret" not in repr(settings)
    assert "CDC_SCHEMA_REGISTRY" in describe(ConsumerSettings)
