"""Settings of the Kafka client: `CDC_KAFKA_SECURITY_PROTOCOL` is librdkafka's `security.protocol`, and so on.

What a property may be is said by librdkafka's CONFIGURATION.md. Only properties of connecting and of fetching are
taken; those that the promises rest on are fixed.
"""

from __future__ import annotations

import difflib
import logging
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any

from confluent_kafka import Consumer, KafkaException
from pydantic import BeforeValidator

from cdc.settings import KAFKA_PREFIX
from cdc_consumer.kafka.fault import kafka_error

SESSION_SECONDS_MIN = 6.0
"""What brokers accept unless told otherwise (`group.min.session.timeout.ms`)."""
_HEARTBEATS_PER_SESSION = 5
_POLL_SECONDS_MAX = 300.0
_ALLOWED = frozenset({
    "security.protocol", "sasl.mechanism", "sasl.mechanisms", "sasl.username", "sasl.password",
    "sasl.kerberos.service.name", "sasl.kerberos.principal", "sasl.kerberos.keytab", "sasl.kerberos.kinit.cmd",
    "sasl.oauthbearer.method", "sasl.oauthbearer.client.id", "sasl.oauthbearer.client.secret", "sasl.oauthbearer.scope",
    "sasl.oauthbearer.extensions", "sasl.oauthbearer.token.endpoint.url", "sasl.oauthbearer.config",
    "enable.sasl.oauthbearer.unsecure.jwt", "ssl.ca.location", "ssl.ca.pem", "ssl.certificate.location",
    "ssl.certificate.pem", "ssl.key.location", "ssl.key.pem", "ssl.key.password", "ssl.keystore.location",
    "ssl.keystore.password", "ssl.crl.location", "ssl.cipher.suites", "ssl.endpoint.identification.algorithm",
    "enable.ssl.certificate.verification",
    "client.id", "client.rack", "client.dns.lookup", "broker.address.family", "broker.address.ttl",
    "connections.max.idle.ms", "reconnect.backoff.ms", "reconnect.backoff.max.ms", "metadata.max.age.ms",
    "topic.metadata.refresh.interval.ms", "socket.timeout.ms", "socket.connection.setup.timeout.ms",
    "socket.keepalive.enable", "socket.nagle.disable", "socket.receive.buffer.bytes", "socket.send.buffer.bytes",
    "socket.max.fails", "receive.message.max.bytes", "fetch.wait.max.ms", "fetch.min.bytes", "fetch.max.bytes",
    "fetch.message.max.bytes", "max.partition.fetch.bytes", "fetch.error.backoff.ms", "queued.min.messages",
    "queued.max.messages.kbytes", "max.poll.interval.ms",
})  # fmt: skip
_FIXED = {
    "bootstrap.servers": "name the servers in CDC_SOURCE",
    "metadata.broker.list": "name the servers in CDC_SOURCE",
    "group.id": "the group is named by CDC_LEASES",
    "session.timeout.ms": "it follows CDC_LEASE_SECONDS",
    "heartbeat.interval.ms": "it follows CDC_LEASE_SECONDS",
    "auto.offset.reset": "a position that the topic no longer has must show as a gap",
    "enable.auto.commit": "an offset is committed once its records are in raw",
    "enable.auto.offset.store": "an offset is committed once its records are in raw",
    "isolation.level": "records of aborted transactions never happened",
    "enable.partition.eof": "the consumer must learn when it has read all",
    "partition.assignment.strategy": "all workers of the group must share one",
    "group.protocol": "all workers of the group must share one",
    "group.instance.id": "two workers with the same one would end each other",
    "allow.auto.create.topics": "a topic that is missing must show",
    "check.crcs": "a record that was falsified on its way must show",
}
_TEXT = re.compile(r'property "([a-z.]+)"')


@dataclass(frozen=True, slots=True)
class ClientProperties:
    """librdkafka's properties as the operator set them; never shown, since some are secrets."""

    values: Mapping[str, str] = field(default_factory=dict, repr=False)


def client_properties(given: object) -> ClientProperties:
    """The properties out of `CDC_KAFKA_*`, checked by the client itself, which connects to nothing for that.

    Raises:
        ValueError: with all problems, none of which repeats a value.
    """
    assert isinstance(given, Mapping)
    values = {_property(name): str(value) for name, value in given.items()}
    problems = [problem for name in given if (problem := _problem(name))]
    if not problems:
        problems = _refused_by_client(values)
    if problems:
        raise ValueError(tuple(problems))
    return ClientProperties(values)


KafkaSetting = Annotated[ClientProperties, BeforeValidator(client_properties)]


def admin_config(servers: tuple[str, ...], given: ClientProperties) -> dict[str, Any]:
    """What a client needs to ask about topics."""
    return {"client.id": "cdc-consumer", **given.values, "bootstrap.servers": ",".join(servers)}


def consumer_config(
    servers: tuple[str, ...], given: ClientProperties, group: str, lease_seconds: float
) -> dict[str, Any]:
    """What the reading client needs; a worker that gives no sign of life for the lease's time loses its partitions."""
    session_ms = round(1000 * max(lease_seconds, SESSION_SECONDS_MIN))
    return {
        "max.poll.interval.ms": max(round(1000 * _POLL_SECONDS_MAX), session_ms),
        # Memory: what is fetched ahead counts beside what the feeds hold.
        "queued.max.messages.kbytes": 16 * 1024,
        "fetch.max.bytes": 16 * 1024 * 1024,
        "topic.metadata.refresh.interval.ms": 30_000,
        **admin_config(servers, given),
        "group.id": group,
        "session.timeout.ms": session_ms,
        "heartbeat.interval.ms": session_ms // _HEARTBEATS_PER_SESSION,
        "auto.offset.reset": "error",
        "enable.auto.commit": False,
        "enable.auto.offset.store": False,
        "isolation.level": "read_committed",
        "enable.partition.eof": True,
        "partition.assignment.strategy": "cooperative-sticky",
        "allow.auto.create.topics": False,
        "check.crcs": True,
    }


def _property(name: str) -> str:
    return name.removeprefix(KAFKA_PREFIX).lower().replace("_", ".")


def _problem(name: str) -> str | None:
    known = _property(name)
    if known in _ALLOWED:
        return None
    if known in _FIXED:
        return f"{name}: is fixed; {_FIXED[known]}"
    near = difflib.get_close_matches(known, _ALLOWED, n=1)
    meant = f"; did you mean {KAFKA_PREFIX}{near[0].upper().replace('.', '_')}?" if near else ""
    return f"{name}: no setting of the Kafka client that may be set{meant}"


def _refused_by_client(values: Mapping[str, str]) -> list[str]:
    """Let the client check the values: without servers it goes nowhere."""
    quiet = logging.getLogger("librdkafka.checking")  # its lines come by polling, which nobody does here
    try:
        Consumer({**values, "group.id": "checking", "log_level": 0}, logger=quiet).close()
    except KafkaException as error:
        found = kafka_error(error)
        text = found.str() if found else ""
        # The rest of the text may repeat the value.
        match = _TEXT.search(text)
        said = f"the value of {match[1]} is not one that it takes" if match else _reason(text, values)
        return [f"the Kafka client refuses the settings {KAFKA_PREFIX}*: {said}"]
    return []


def _reason(text: str, values: Mapping[str, str]) -> str:
    """What the client says where it names no value, such as that a user is missing or a file cannot be read."""
    reason = text.removeprefix("Failed to create consumer: ")
    return "they do not fit together" if any(value and value in reason for value in values.values()) else reason
