"""The publisher: Postgres's logical replication into a Kinesis stream, in Debezium's format.

Reading order: `cli`, `session` (how it begins), `publisher` (the loop), `envelope` and `rendering` (the format),
`outbox` and `ledger` (order, and what may be confirmed), `slot`, `backfill`; then the edges `replication`, `catalog`,
`sink` and `heartbeat`.
"""
