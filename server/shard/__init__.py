"""The shard: a deterministic state machine that advances in ticks. Pure; see docs/architecture.md."""
