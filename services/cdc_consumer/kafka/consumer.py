"""The consumer of Kafka: the group gives partitions, a thread reads each, and what goes is flushed in time."""

from __future__ import annotations

import logging
import threading
import uuid
from collections.abc import Collection
from dataclasses import replace
from typing import Any

from confluent_kafka import Consumer, KafkaException
from confluent_kafka.admin import AdminClient

from cdc.errors import SettingsFault, TransientFault
from cdc_consumer.backoff import FaultReport, persist
from cdc_consumer.crew import Crew
from cdc_consumer.kafka.fault import Complaints
from cdc_consumer.kafka.group import Group, Partition, Readers
from cdc_consumer.kafka.properties import admin_config, consumer_config
from cdc_consumer.kafka.streams import GroupLeases, KafkaStreams
from cdc_consumer.kafka.topics import KafkaTopics, Topics
from cdc_consumer.kafka.watch import Watch
from cdc_consumer.outlook import Taken
from cdc_consumer.settings import ConsumerSettings
from cdc_consumer.stream import Streams
from cdc_consumer.tools import Tools

TICK_SECONDS = 0.1
SURVEY_SECONDS = 30.0
"""How often the topics are looked at: partitions added, made anew, compacted by now."""
DONE_SECONDS = 1.0
"""How often the others' progress is asked for when all that is ours is read."""


def without_rest(*, behind: bool, read_bytes: int) -> float:  # noqa: ARG001 - neither matters to Kafka
    """The feed waits for records by itself."""
    return 0.0


def fit(tools: Tools, streams: Streams) -> Tools:
    """The tools for reading Kafka. A page is as small as its feed, so none has to wait for the pages of others."""
    return replace(tools, streams=streams, pace=without_rest, pages=None, has_aggregates=False)


def run(settings: ConsumerSettings, tools: Tools, stop: threading.Event, *, until_caught_up: bool) -> None:
    """Consume topics as the settings say, until stopped or caught up; the streams of `tools` are made here.

    Raises:
        SettingsFault: when the Kafka client refuses its settings.
        FatalFault: when going on could lose or falsify data, or what the settings name is not there.
    """
    servers, complaints = settings.source.servers, Complaints()
    # The client's own lines, such as of lost connections, go where all lines go.
    shared: dict[str, Any] = {"error_cb": complaints.note, "logger": logging.getLogger("librdkafka")}
    try:
        admin = AdminClient({**admin_config(servers, settings.kafka), **shared})
        client = Consumer(
            {**consumer_config(servers, settings.kafka, settings.leases, settings.lease_seconds), **shared}
        )
    except KafkaException as error:
        raise SettingsFault([f"the Kafka client refuses the settings CDC_KAFKA_*: {type(error).__name__}"]) from None
    topics = KafkaTopics(admin, complaints)
    group = Group(client, complaints, tools.clock)
    tools = fit(tools, KafkaStreams(topics, group, tools.clock))
    consume(settings.source.streams, topics, group, tools, stop, until_caught_up=until_caught_up)


def consume(
    names: Collection[str], topics: Topics, group: Group, tools: Tools, stop: threading.Event, *, until_caught_up: bool
) -> None:
    """Read the partitions that the group gives us until stopped, or until every partition is read to its present end.

    Raises:
        FatalFault: the first that any thread met; the other threads have written what they had by then.
    """
    worker = str(uuid.uuid4())
    names = tuple(dict.fromkeys(names))
    leases = GroupLeases(group)
    watch = Watch(topics, tools.announce)
    crew = Crew(leases, tools, until_caught_up=until_caught_up)
    report = FaultReport(tools.clock.monotonic, where="all")
    finish = Finish(watch, leases, crew, tools)

    def rest(seconds: float) -> bool:
        return tools.clock.wait(stop, seconds)

    readers = Readers(
        ask=lambda gone: crew.ask(watch.keys(gone)),
        have_left=lambda gone: crew.have_left(watch.keys(gone)),
        drop=lambda gone: crew.drop(watch.keys(gone)),
    )
    try:
        persist("start", lambda: watch.survey(names), rest=rest, chance=tools.chance, report=report)
    except TransientFault:
        return  # stopped before anything began
    survey_due = tools.clock.monotonic() + SURVEY_SECONDS
    with group.joined(names, readers):
        try:
            while not stop.is_set():
                group.check()
                crew.reap()
                ours = group.staying()
                try:
                    # The client may learn of a new partition before we do.
                    if tools.clock.monotonic() >= survey_due or not ours <= watch.known.keys():
                        watch.survey(names)
                        survey_due = tools.clock.monotonic() + SURVEY_SECONDS
                    _start(crew, leases, watch, ours, worker)
                    if until_caught_up and group.has_joined and finish.is_reached(ours):
                        break
                except TransientFault as fault:
                    report.add("look for partitions", fault)
                rest(TICK_SECONDS)
        finally:
            crew.end()
    crew.reap()
    group.check()


def _start(crew: Crew, leases: GroupLeases, watch: Watch, ours: Collection[Partition], worker: str) -> None:
    for partition in ours:
        known = watch.known.get(partition)
        if known is not None and known.key not in crew.keys | crew.caught_up:
            lease = leases.take(known.key, known.stream, known.shard, worker)
            crew.start(Taken(known.key, known.stream, known.shard, lease))


class Finish:
    """The present end of all partitions, for `--until-caught-up`: ours are read by our threads, others' by others."""

    def __init__(self, watch: Watch, leases: GroupLeases, crew: Crew, tools: Tools) -> None:
        self._watch = watch
        self._leases = leases
        self._crew = crew
        self._clock = tools.clock
        self._ends: dict[Partition, int] = {}
        self._due = 0.0

    def is_reached(self, ours: Collection[Partition]) -> bool:
        """Whether every partition was read to its end, by us, or as the group's offsets tell.

        Raises:
            TransientFault: when the cluster does not answer for now.
        """
        done = self._crew.caught_up
        if not self._watch.keys(ours) <= done:
            return False
        others = {one for one, known in self._watch.known.items() if known.key not in done}
        if not others:
            return True
        if self._clock.monotonic() < self._due:
            return False
        self._due = self._clock.monotonic() + DONE_SECONDS
        missing = others - self._ends.keys()
        self._ends |= self._watch.ends(missing)
        known = self._watch.known
        return self._leases.passed((one, known[one].stream.identity, self._ends[one]) for one in others)
