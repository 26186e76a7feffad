"""Regions: bounded areas of the world as shards. Pure; see docs/architecture.md."""
