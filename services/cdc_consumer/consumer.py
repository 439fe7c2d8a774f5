"""The consumer: take leases, let a thread read each shard, give the leases back.

What a thread does is in shard.py: read → route → batch → raw objects → batch record → checkpoint, in that order. To
read on: shard.py, filing.py, batch.py, routing.py, lease.py, claims.py, resume.py; the rest are edges and what holds
them together.
"""

from __future__ import annotations

import random
import threading
import uuid
from collections.abc import Collection

import cdc.aws
from cdc.errors import TransientFault
from cdc.objects import S3Objects
from cdc_consumer import metrics
from cdc_consumer.avro import AvroReader, without_registry
from cdc_consumer.aws_fault import AwsError, aws_fault
from cdc_consumer.backoff import FaultReport, persist
from cdc_consumer.clock import SYSTEM_CLOCK
from cdc_consumer.crew import Crew
from cdc_consumer.held_lease import renewing
from cdc_consumer.kafka import consumer as kafka
from cdc_consumer.kinesis import KinesisStreams
from cdc_consumer.lease_table import DynamoLeaseTable, LeaseTable
from cdc_consumer.memory import hold_memory_flat
from cdc_consumer.outlook import Outlook
from cdc_consumer.routing import tables_by_source
from cdc_consumer.schema_registry import ConfluentRegistry
from cdc_consumer.settings import ConsumerSettings
from cdc_consumer.tools import Tools

TICK_SECONDS = 0.1


def run(settings: ConsumerSettings, stop: threading.Event, *, until_caught_up: bool) -> None:
    """Consume from Kinesis or Kafka as the settings say, until stopped or caught up.

    Raises:
        FatalFault: when going on could lose or falsify data, or what the settings name is not there.
    """
    hold_memory_flat()
    try:
        kinesis, s3, dynamodb = cdc.aws.kinesis(), cdc.aws.s3(), cdc.aws.dynamodb()
    except AwsError as error:
        raise aws_fault("make the AWS clients", "AWS_*", error, hint="give region and credentials") from error
    raw = S3Objects(s3, settings.raw)
    registry = settings.schema_registry and ConfluentRegistry(settings.schema_registry)
    tools = Tools(
        streams=KinesisStreams(kinesis),
        raw=raw,
        quarantine=S3Objects(s3, settings.quarantine),
        tables=tables_by_source(settings.tables),
        batch_bytes=settings.batch_bytes,
        batch_age_seconds=settings.batch_age_seconds,
        clock=SYSTEM_CLOCK,
        chance=random.random,
        from_avro=AvroReader(registry, raw, SYSTEM_CLOCK.monotonic).read if registry else without_registry,
    )
    metrics.SILENCE_SECONDS.set_function(tools.ages.silence_seconds)
    metrics.UNWRITTEN_SECONDS.set_function(tools.ages.unwritten_seconds)
    if settings.source.kind == "kafka":
        kafka.run(settings, tools, stop, until_caught_up=until_caught_up)
        return
    table = DynamoLeaseTable(dynamodb, settings.leases)
    streams = tuple(dict.fromkeys(settings.source.streams))
    consume(streams, table, settings.lease_seconds, tools, stop, until_caught_up=until_caught_up)


def consume(
    streams: Collection[str],
    table: LeaseTable,
    lease_seconds: float,
    tools: Tools,
    stop: threading.Event,
    *,
    until_caught_up: bool,
) -> None:
    """Take leases and read their shards until stopped, or until every shard is read to its present end.

    Raises:
        FatalFault: the first that any thread met; the other threads have written what they had by then.
    """
    worker = str(uuid.uuid4())  # new for each run: a lease in this name is ours, whoever's machine we run on
    outlook = Outlook(worker, tools.streams, table, lease_seconds, tools.clock, tools.chance, tools.announce)
    crew = Crew(table, tools, until_caught_up=until_caught_up)
    report = FaultReport(tools.clock.monotonic, where="all")

    def rest(seconds: float) -> bool:
        return tools.clock.wait(stop, seconds)

    try:
        persist("start", lambda: outlook.start(streams), rest=rest, chance=tools.chance, report=report)
    except TransientFault:
        return  # stopped before anything began
    with renewing(crew.held, lease_seconds, tools.clock):
        try:
            while not stop.is_set():
                if crew.reap():
                    outlook.hurry()
                try:
                    if outlook.look(all_anew=until_caught_up):
                        crew.heed(outlook.streams, outlook.leases)
                        if outlook.has_surveyed:
                            crew.gone.clear()
                        # Who is to end soon leaves to the others what they hold.
                        takes = outlook.take_free if until_caught_up else outlook.take
                        for taken in takes(crew.keys, crew.caught_up | crew.gone):
                            crew.start(taken)
                        if until_caught_up and outlook.all_done(crew.caught_up):
                            break
                except TransientFault as fault:
                    report.add("look for shards and leases", fault)
                rest(TICK_SECONDS)
        finally:
            crew.end()
    crew.reap()
