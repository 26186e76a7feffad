"""Everstep's server. See docs/architecture.md."""
