"""The publisher: Postgres's logical replication into a Kinesis stream, in Debezium's format.

Reading order: `cli`, `publisher` (the loop), `envelope` and `rendering` (the format), `outbox` and `ledger` (order and
what may be confirmed), `slot` and `backfill` (how it begins), and the edges `replication`, `catalog`, `sink`, `heartbeat`.
"""
