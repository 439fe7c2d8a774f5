"""Kafka as a source: a partition is a shard, the consumer group holds the leases, an offset gives a sequence number.

To read on: group.py (who reads what), feed.py (from the one client to the thread of a partition), streams.py (what a
shard's thread sees of it), topics.py (what is refused), properties.py (settings), consumer.py (the loop).
"""
