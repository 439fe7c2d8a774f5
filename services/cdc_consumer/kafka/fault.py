"""Kafka's errors as faults: what may mend itself is transient, what will not is fatal and says what to do.

Source of the codes: the protocol's error codes in Kafka's docs, and librdkafka's own ones in rdkafka.h, whose names
begin with an underscore. Their texts are left out, since some repeat a value of the client's settings.
"""

from __future__ import annotations

from confluent_kafka import KafkaError, KafkaException

from cdc.errors import FatalFault, TransientFault

PARTITION_EOF = KafkaError._PARTITION_EOF
OFFSET_GONE = KafkaError._AUTO_OFFSET_RESET
LOG_TRUNCATED = KafkaError._LOG_TRUNCATION
UNSETTLED = frozenset({KafkaError.UNKNOWN_MEMBER_ID, KafkaError.ILLEGAL_GENERATION, KafkaError._ASSIGNMENT_LOST})
"""Of a member whose group is being balanced anew, or that is no member any more."""
_DENIED = frozenset({
    KafkaError.TOPIC_AUTHORIZATION_FAILED, KafkaError.GROUP_AUTHORIZATION_FAILED,
    KafkaError.CLUSTER_AUTHORIZATION_FAILED, KafkaError.SASL_AUTHENTICATION_FAILED, KafkaError._AUTHENTICATION,
})  # fmt: skip
MISSING = frozenset({
    KafkaError.UNKNOWN_TOPIC_OR_PART, KafkaError._UNKNOWN_TOPIC, KafkaError._UNKNOWN_PARTITION,
})  # fmt: skip
_UNFIT = frozenset({
    KafkaError._INVALID_ARG, KafkaError._UNSUPPORTED_FEATURE, KafkaError.UNSUPPORTED_VERSION,
    KafkaError.INVALID_GROUP_ID, KafkaError.INVALID_SESSION_TIMEOUT, KafkaError.INCONSISTENT_GROUP_PROTOCOL,
})  # fmt: skip
_HINTS = {
    _DENIED: "check the CDC_KAFKA_* of security, and that the user may Describe, DescribeConfigs and Read the topics "
    "and Read the group that CDC_LEASES names",
    MISSING: "check the topics' names in CDC_SOURCE; cdc-consumer makes none",
    _UNFIT: "check that the brokers are Kafka 2.8 or later, CDC_LEASE_SECONDS against their "
    "group.min.session.timeout.ms and group.max.session.timeout.ms, and that no other program is in the group "
    "that CDC_LEASES names",
}


class Complaints:
    """The last error that a client told its error callback; calls that it keeps from succeeding only time out."""

    def __init__(self) -> None:
        self._last: KafkaError | None = None

    def note(self, error: KafkaError) -> None:
        """The client's `error_cb`."""
        self._last = error

    def explain(self, error: KafkaError | None) -> KafkaError | None:
        """What is behind an error or (None) a missing answer: refused credentials, if that is what was told."""
        refused = self._last is not None and self._last.code() in _DENIED
        return self._last if refused else error


def kafka_error(error: BaseException) -> KafkaError | None:
    """The KafkaError that an exception of the client carries."""
    found = error.args[0] if isinstance(error, KafkaException) and error.args else None
    return found if isinstance(found, KafkaError) else None


def kafka_fault(verb: str, where: str, error: KafkaError | None) -> FatalFault | TransientFault:
    """The fault that an error of Kafka means; None stands for an answer that did not come in time."""
    if error is None:
        return TransientFault(f"cannot {verb}: no answer in time", where=where)
    what = f"cannot {verb}: {error.name()}"
    hint = next((hint for codes, hint in _HINTS.items() if error.code() in codes), None)
    if hint is None and not error.fatal():
        return TransientFault(what, where=where)
    return FatalFault(what, where=where, hint=hint or "start the program again; report it if it comes back")
