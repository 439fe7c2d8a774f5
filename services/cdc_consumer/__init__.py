"""Stream to raw zone: reads shards, writes micro-batches of raw JSON, checkpoints after they are durable."""
