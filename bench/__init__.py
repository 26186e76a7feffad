"""Benchmarks: what a tick, a client and an entity cost. README.md says how each figure is taken."""
