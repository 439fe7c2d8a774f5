"""What a Kafka source's settings may be; what is refused, and that no value is ever said."""

from __future__ import annotations

import pytest

from cdc.errors import FatalFault, SettingsFault
from cdc.settings import Source, _source, describe, load
from cdc_consumer.kafka.properties import ClientProperties, admin_config, client_properties, consumer_config
from cdc_consumer.kafka.topics import identity, refuse_compacted
from cdc_consumer.settings import ConsumerSettings
from tests.conftest import ROOT

GOOD = {
    "CDC_SOURCE": "kafka://a:9092,b:9093/usuarios",
    "CDC_TABLES": str(ROOT / "tables"),
    "CDC_RAW": "s3://raw/usuarios",
    "CDC_QUARANTINE": "s3://raw/quarantine",
    "CDC_LEASES": "usuarios-cdc",
}


def problems(**changes: str) -> list[str]:
    with pytest.raises(SettingsFault) as raised:
        load(ConsumerSettings, {**GOOD, **changes})
    return list(raised.value.problems)


@pytest.mark.parametrize(
    ("text", "source"),
    [
        ("kafka://a:9092/t", Source("kafka", ("t",), ("a:9092",))),
        ("kafka://a.b-c:9092,[::1]:9093/t.u,v_w", Source("kafka", ("t.u", "v_w"), ("a.b-c:9092", "[::1]:9093"))),
    ],
)
def test_a_source_names_servers_and_topics(text: str, source: Source) -> None:
    assert _source(text) == source


@pytest.mark.parametrize(
    "text",
    ["kafka://", "kafka:///t", "kafka://a:9092", "kafka://a:9092/", "kafka://a/t", "kafka://a:x/t", "kafka://a:9092/t/u",
     "kafka://a:9092/..", "kafka://a:9092/Usuários", "kafka://u:p@a:9092/t", "kafka:/a:9092/t"],
)  # fmt: skip
def test_a_source_that_is_none_is_refused(text: str) -> None:
    assert [problem.split(":")[0] for problem in problems(CDC_SOURCE=text)] == ["CDC_SOURCE"]


def test_properties_of_the_client_are_taken_and_never_shown() -> None:
    settings = load(
        ConsumerSettings,
        {
            **GOOD,
            "CDC_KAFKA_SECURITY_PROTOCOL": "SASL_SSL",
            "CDC_KAFKA_SASL_MECHANISM": "SCRAM-SHA-512",
            "CDC_KAFKA_SASL_USERNAME": "consumer",
            "CDC_KAFKA_SASL_PASSWORD": "the password",
        },
    )
    assert settings.kafka.values["sasl.password"] == "the password"
    assert "the password" not in repr(settings)
    assert "the password" not in str(settings.kafka)
    assert admin_config(("a:1", "b:2"), settings.kafka)["bootstrap.servers"] == "a:1,b:2"


def test_all_wrong_properties_are_named_at_once_without_their_values() -> None:
    found = problems(
        CDC_KAFKA_AUTO_OFFSET_RESET="hush", CDC_KAFKA_GROUP_ID="hush", CDC_KAFKA_SECURITY_PROTOKOL="hush",
        CDC_KAFKA_PLUGIN_LIBRARY_PATHS="hush", CDC_RAW="hush",
    )  # fmt: skip
    assert {problem.split(":")[0] for problem in found} == {
        "CDC_KAFKA_AUTO_OFFSET_RESET", "CDC_KAFKA_GROUP_ID", "CDC_KAFKA_SECURITY_PROTOKOL",
        "CDC_KAFKA_PLUGIN_LIBRARY_PATHS", "CDC_RAW",
    }  # fmt: skip
    assert not any("hush" in problem for problem in found)
    assert any("did you mean CDC_KAFKA_SECURITY_PROTOCOL?" in problem for problem in found)
    assert any("CDC_LEASES" in problem for problem in found)


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("CDC_KAFKA_SECURITY_PROTOCOL", "hush", "security.protocol"),
        ("CDC_KAFKA_FETCH_MIN_BYTES", "hush", "fetch.min.bytes"),
        ("CDC_KAFKA_SECURITY_PROTOCOL", "SASL_PLAINTEXT", "CDC_KAFKA_*"),
    ],
)
def test_a_value_that_the_client_does_not_take_is_refused_before_any_connection(
    name: str, value: str, said: str
) -> None:
    (problem,) = problems(**{name: value})
    assert said in problem
    assert "hush" not in problem


def test_a_secret_in_what_the_client_says_is_not_passed_on() -> None:
    given = {"CDC_KAFKA_SECURITY_PROTOCOL": "ssl", "CDC_KAFKA_SSL_KEY_LOCATION": "/no/such/hush"}
    with pytest.raises(ValueError, match="CDC_KAFKA") as raised:
        client_properties(given)
    assert "hush" not in str(raised.value)


def test_what_the_promises_rest_on_is_fixed() -> None:
    config = consumer_config(("a:1",), ClientProperties({"fetch.min.bytes": "7"}), "group", lease_seconds=1)
    assert (config["auto.offset.reset"], config["isolation.level"]) == ("error", "read_committed")
    assert config["enable.auto.commit"] is False
    assert (config["session.timeout.ms"], config["fetch.min.bytes"], config["group.id"]) == (6000, "7", "group")
    assert consumer_config(("a:1",), ClientProperties(), "g", lease_seconds=600)["max.poll.interval.ms"] == 600_000


def test_help_tells_of_the_clients_settings() -> None:
    assert "CDC_KAFKA_*" in describe(ConsumerSettings)


def test_a_topics_id_stands_in_names_as_kafka_prints_it() -> None:
    assert identity("t", "AaH+bHBpfqGKA/qfTHquGA") == "t-AaH-bHBpfqGKA_qfTHquGA"
    with pytest.raises(FatalFault, match="no ids"):
        identity("t", "AAAAAAAAAAAAAAAAAAAAAA")


@pytest.mark.parametrize("policy", ["compact", "compact,delete", "delete,compact"])
def test_a_compacted_topic_is_refused(policy: str) -> None:
    refuse_compacted("t", {"cleanup.policy": "delete"})
    refuse_compacted("t", {})
    with pytest.raises(FatalFault, match="compacted") as raised:
        refuse_compacted("t", {"cleanup.policy": policy})
    assert "cleanup.policy" in raised.value.hint
